//! A caller as it travels inside the mesh: written by the gateway, read by the sidecar, in one place so that they agree.

use std::sync::Arc;

use meshgate_identity::context;
use meshgate_model::SpiffeId;

use super::Caller;

/// What stands for the application of a caller that has none. No document has such a name.
const ANONYMOUS: &str = "(anonymous)";

impl Caller {
    /// What a gateway says of this caller, who calls through `view`; without a view it asks for itself.
    pub fn to_context(&self, view: Option<&str>) -> context::Caller {
        let Some(view) = view.filter(|_| !self.is_gateway()) else {
            return context::Caller::Gateway;
        };
        let owned = |texts: &[Arc<str>]| texts.iter().map(|text| text.to_string()).collect();
        context::Caller::Application {
            application: self.application.as_deref().unwrap_or(ANONYMOUS).to_owned(),
            user: self.user.as_deref().map(str::to_owned),
            groups: owned(&self.groups),
            scopes: owned(&self.scopes),
            view: view.to_owned(),
        }
    }

    /// Who it is that `gateway` speaks of, and the view; none where it asks for itself.
    pub fn of_context(said: context::Caller, gateway: &SpiffeId) -> (Self, Option<String>) {
        match said {
            context::Caller::Gateway => (Self::gateway(gateway.as_str()), None),
            context::Caller::Application {
                application,
                user,
                groups,
                scopes,
                view,
            } => {
                let shared = |texts: Vec<String>| texts.into_iter().map(Arc::from).collect();
                let application = (application != ANONYMOUS).then(|| Arc::from(application));
                let caller = Self {
                    groups: shared(groups),
                    scopes: shared(scopes),
                    ..Self::new(application, user.map(Arc::from))
                };
                (caller, Some(view))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn gateway() -> SpiffeId {
        "spiffe://corp.mesh/gateway/main".parse().unwrap()
    }

    #[test]
    fn a_caller_comes_back_as_it_was() {
        let person = Caller {
            groups: vec!["finance".into(), "all".into()],
            scopes: vec!["documents:read".into()],
            ..Caller::new(Some("assistant".into()), Some("ann@corp".into()))
        };
        for caller in [person, Caller::new(Some("bot".into()), None), Caller::anonymous()] {
            let (back, view) = Caller::of_context(caller.to_context(Some("default")), &gateway());
            assert_eq!((&back, view.as_deref()), (&caller, Some("default")));
            assert_eq!((&back.groups, &back.scopes), (&caller.groups, &caller.scopes));
            assert_eq!(back.application, caller.application);
        }
    }

    #[test]
    fn a_gateway_for_itself_is_nobody_else() {
        for said in [
            Caller::anonymous().to_context(None),
            Caller::gateway("x").to_context(Some("default")),
        ] {
            let (back, view) = Caller::of_context(said, &gateway());
            assert!(back.is_gateway() && view.is_none() && back.application.is_none());
            assert_ne!(back, Caller::anonymous());
        }
    }
}
