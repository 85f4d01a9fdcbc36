//! The configuration as the sidecar of one server sees it.
//!
//! A gateway puts a call into the server's own words before it sends it on: names lose their prefix and are as the server
//! gave them. So the same view that is merged and renamed at the edge is, beside the server, this server under its own names
//! and nothing else; what it shows and hides stays, because the sidecar decides by it once more.

use std::sync::Arc;

use super::{Naming, Reach, Server, Snapshot, ToolFilter, View, ViewServer};

/// Where the whole of a server stands that its gateways see on their own behalf.
const WHOLE_PATH: &str = "/mcp";

impl View {
    /// Whether it is the whole of a server as gateways see it on their own behalf. No document names such a view.
    pub fn is_of_gateways(&self) -> bool {
        self.name.is_empty()
    }
}

impl Snapshot {
    /// What the sidecar of `server` decides by: views that show the server, each reduced to it and in its own names, under
    /// [`Snapshot::path_beside`]; and the server as a whole, for gateways. The server is reached as its document says it is
    /// beside its sidecar, where that says so. A server that is not there leaves no view.
    #[must_use]
    pub fn beside(&self, server: &str) -> Self {
        let known = self.servers.get(server).map(|told| match &told.reach {
            Reach::Sidecar { beside: Some(own), .. } => Arc::new(Server {
                reach: (**own).clone(),
                ..(**told).clone()
            }),
            _ => told.clone(),
        });
        let shown = self.views.iter().filter_map(|view| {
            let entry = view.servers.iter().find(|entry| &*entry.server.name == server)?;
            Some(Arc::new(View {
                path: Self::path_beside(&view.name).into(),
                servers: vec![ViewServer {
                    server: known.clone()?,
                    tools: ToolFilter {
                        rename: std::collections::BTreeMap::new(),
                        ..entry.tools.clone()
                    },
                }],
                naming: Naming::Plain,
                instructions: None,
                ..(**view).clone()
            }))
        });
        let whole = known.as_ref().map(|server| {
            Arc::new(View {
                name: Arc::from(""),
                team: server.team.clone(),
                path: WHOLE_PATH.into(),
                servers: vec![ViewServer {
                    server: server.clone(),
                    tools: ToolFilter::default(),
                }],
                naming: Naming::Plain,
                anonymous: false,
                // A gateway reads all pages of all lists at once.
                limits_lifted: true,
                instructions: None,
                list_ttl_ms: 0,
            })
        });
        let views: Vec<Arc<View>> = whole.into_iter().chain(shown).collect();
        let paths = views.iter().enumerate();
        let paths = paths.map(|(index, view)| (view.path.clone(), index)).collect();
        Self {
            servers: known.into_iter().map(|server| (server.name.clone(), server)).collect(),
            views,
            paths,
            ..self.clone()
        }
    }

    /// Where a view stands in what [`Snapshot::beside`] gives.
    pub fn path_beside(view: &str) -> String {
        format!("/views/{view}")
    }

    /// Where the whole server stands in what [`Snapshot::beside`] gives.
    pub fn whole_beside() -> &'static str {
        WHOLE_PATH
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn compiled() -> Snapshot {
        let yaml = "
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: documents}
spec: {http: {url: 'http://127.0.0.1:1/mcp'}}
---
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: projects}
spec: {http: {url: 'http://127.0.0.1:2/mcp'}}
---
apiVersion: meshgate.dev/v1alpha1
kind: View
metadata: {name: both}
spec: {servers: [{name: documents, tools: {hide: [delete], rename: {search: find}}}, {name: projects}]}
---
apiVersion: meshgate.dev/v1alpha1
kind: View
metadata: {name: other}
spec: {servers: [{name: projects}]}
---
apiVersion: meshgate.dev/v1alpha1
kind: View
metadata: {name: narrow}
spec: {servers: [{name: documents, tools: {allow: []}}]}
";
        let config = crate::parse("beside.yaml", yaml).unwrap_or_else(|findings| panic!("{findings:?}"));
        config.compile().unwrap_or_else(|findings| panic!("{findings:?}")).0
    }

    #[test]
    fn a_view_beside_its_server_is_that_server_in_its_own_words() {
        let whole = compiled();
        assert!(whole.view("both").unwrap().is_merged());
        let beside = whole.beside("documents");
        assert_eq!(
            beside.servers.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["documents"]
        );
        let both = beside.view_at(&Snapshot::path_beside("both")).unwrap();
        assert!(!both.is_merged() && both.naming == Naming::Plain && both.servers.len() == 1);
        let tools = &both.servers[0].tools;
        assert!(tools.admits("search") && !tools.admits("delete"));
        assert_eq!(tools.renamed("search"), "search");
        assert!(beside.view("other").is_none());
        let narrow = beside.view_at(&Snapshot::path_beside("narrow")).unwrap();
        assert!(
            !narrow.servers[0].tools.admits("search"),
            "an empty list is nothing here too"
        );
    }

    #[test]
    fn the_whole_server_is_for_gateways_and_named_by_no_document() {
        let beside = compiled().beside("documents");
        let of_gateways: Vec<_> = beside.views.iter().filter(|view| view.is_of_gateways()).collect();
        assert_eq!(of_gateways.len(), 1);
        assert_eq!(&*of_gateways[0].path, Snapshot::whole_beside());
        assert!(of_gateways[0].servers[0].tools.admits("delete"));
        assert!(compiled().views.iter().all(|view| !view.is_of_gateways()));
    }

    #[test]
    fn beside_its_sidecar_a_server_is_reached_as_its_own_document_says() {
        let yaml = "
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: documents}
spec: {sidecar: {version: v2}, http: {url: 'http://127.0.0.1:1/mcp'}}
";
        let config = crate::parse("beside.yaml", yaml).unwrap_or_else(|findings| panic!("{findings:?}"));
        let whole = config.compile().unwrap_or_else(|findings| panic!("{findings:?}")).0;
        assert!(matches!(whole.servers["documents"].reach, Reach::Sidecar { .. }));
        let beside = whole.beside("documents");
        let own = &beside.servers["documents"];
        assert!(matches!(own.reach, Reach::Http { .. }));
        assert!(
            beside
                .views
                .iter()
                .all(|view| Arc::ptr_eq(&view.servers[0].server, own))
        );
    }

    #[test]
    fn a_socket_of_the_file_system_is_opened_only_where_it_was_typed() {
        let yaml = "
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: documents}
spec: {http: {url: 'unix:/run/server.sock:/endpoint'}}
";
        let parsed = || crate::parse("beside.yaml", yaml).unwrap_or_else(|findings| panic!("{findings:?}"));
        let here = parsed().compile().unwrap().0;
        assert!(matches!(here.servers["documents"].reach, Reach::Http { .. }));
        let told = crate::Role::Gateway {
            name: "main".into(),
            started: Arc::default(),
        };
        let elsewhere = parsed().compile_as(&told).unwrap().0;
        assert!(matches!(
            elsewhere.servers["documents"].reach,
            Reach::Sidecar { beside: None, .. }
        ));
    }

    #[test]
    fn a_server_that_is_not_there_leaves_nothing() {
        let beside = compiled().beside("nothing");
        assert!(beside.servers.is_empty() && beside.views.is_empty());
    }
}
