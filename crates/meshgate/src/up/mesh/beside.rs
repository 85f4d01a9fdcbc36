//! Which sidecars this process runs, and what a change of the file means for them.
//!
//! A file says of a server that it has a sidecar and, in the same document, how the server is reached; then the sidecar runs
//! here. Where it does not say how, sidecars elsewhere join for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshgate_model::{Part, Reach, Snapshot};

/// A sidecar of this process: its server and the version of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Beside {
    pub(super) server: Arc<str>,
    pub(super) version: Arc<str>,
}

impl Beside {
    /// The part of the mesh that it is.
    pub(super) fn part(&self) -> Part {
        Part::Server {
            server: self.server.clone(),
            version: self.version.clone(),
        }
    }

    /// The name of its folder. Names hold no dot, so the first one ends the name, and no two have one folder.
    pub(super) fn folder(&self) -> String {
        format!("{}.{}", self.server, self.version)
    }
}

/// The sidecars that a configuration wants in this process, with how each reaches its server.
pub(super) fn sidecars(snapshot: &Snapshot) -> BTreeMap<Beside, Reach> {
    let servers = snapshot.servers.values();
    servers
        .filter_map(|server| match &server.reach {
            Reach::Sidecar {
                version,
                beside: Some(reach),
            } => {
                let beside = Beside {
                    server: server.name.clone(),
                    version: version.clone(),
                };
                Some((beside, (**reach).clone()))
            }
            _ => None,
        })
        .collect()
}

/// Programs that the gateway starts itself: servers without a sidecar.
pub(super) fn programs(snapshot: &Snapshot) -> BTreeMap<Arc<str>, Reach> {
    let servers = snapshot.servers.values();
    servers
        .filter(|server| matches!(server.reach, Reach::Stdio { .. }))
        .map(|server| (server.name.clone(), server.reach.clone()))
        .collect()
}

/// What is to be done for a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is new.
    Start(Beside, Reach),
    /// It reaches its server in another way.
    Reach(Beside, Reach),
    /// A file that its server takes a value from holds something else now.
    Renew(Beside),
    /// It is wanted no longer.
    Stop(Beside),
}

/// What leads from the sidecars that run to those that are wanted.
pub(super) fn steps(
    now: &BTreeMap<Beside, Reach>,
    wanted: &BTreeMap<Beside, Reach>,
    touched: &BTreeSet<Arc<str>>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (beside, reach) in wanted {
        match now.get(beside) {
            None => steps.push(Step::Start(beside.clone(), reach.clone())),
            Some(before) if before != reach => steps.push(Step::Reach(beside.clone(), reach.clone())),
            Some(_) if touched.contains(&beside.server) => steps.push(Step::Renew(beside.clone())),
            Some(_) => {}
        }
    }
    let gone = now.keys().filter(|beside| !wanted.contains_key(*beside));
    steps.extend(gone.map(|beside| Step::Stop(beside.clone())));
    steps
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn beside(server: &str) -> Beside {
        Beside {
            server: server.into(),
            version: "v1".into(),
        }
    }

    fn http(url: &str) -> Reach {
        Reach::Http {
            url: url.into(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn only_servers_with_a_sidecar_and_a_way_to_them_get_one_here() {
        let text = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: here}\nspec: {sidecar: {version: v2}, stdio: {command: \"true\"}}\n---\n\
            apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: elsewhere}\nspec: {sidecar: {}}\n---\n\
            apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: direct}\nspec: {stdio: {command: \"true\"}}\n";
        let config = meshgate_model::parse("mesh.yaml", text).unwrap();
        let (snapshot, _) = config.compile().unwrap();
        let wanted: Vec<String> = sidecars(&snapshot).keys().map(Beside::folder).collect();
        assert_eq!(wanted, ["here.v2"]);
        let programs: Vec<_> = programs(&snapshot).into_keys().collect();
        assert_eq!(programs, ["direct".into()]);
    }

    #[test]
    fn a_change_touches_only_the_sidecars_it_is_about() {
        let map = |entries: &[(&str, &str)]| -> BTreeMap<Beside, Reach> {
            entries.iter().map(|(name, url)| (beside(name), http(url))).collect()
        };
        let now = map(&[
            ("gone", "http://a/"),
            ("moved", "http://a/"),
            ("same", "http://a/"),
            ("touched", "http://a/"),
        ]);
        let wanted = map(&[
            ("moved", "http://b/"),
            ("new", "http://a/"),
            ("same", "http://a/"),
            ("touched", "http://a/"),
        ]);
        let touched = BTreeSet::from(["touched".into()]);
        assert_eq!(
            steps(&now, &wanted, &touched),
            [
                Step::Reach(beside("moved"), http("http://b/")),
                Step::Start(beside("new"), http("http://a/")),
                Step::Renew(beside("touched")),
                Step::Stop(beside("gone")),
            ]
        );
        assert_eq!(steps(&now, &now, &BTreeSet::new()), []);
    }
}
