//! Whose snapshot is compiled.
//!
//! One set of documents means something else to each part of a mesh: a gateway serves the views its own document names, and
//! a sidecar knows one server only. What they share is what makes the two hops agree, so there is one compiler with a role
//! and not one for each part.
//!
//! Two things a role adds, because a part that has joined a mesh is told its configuration by another machine. What starts
//! a program on this machine, or opens a socket of it, comes from whoever typed it here and never from there (a stolen control plane must not be able
//! to run commands on every host); and defaults that open something (the view of every server, the application of the local
//! token) are written out by the control plane, so that an empty selection stays empty here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::snapshot::Reach;

/// Whose snapshot is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The gateway of a file that has one at most; it reaches its servers as the file says.
    #[default]
    Alone,
    /// One gateway of a mesh. Without a document of that name it listens on loopback and serves every view.
    Gateway {
        /// Its name.
        name: Arc<str>,
        /// Servers of its own machine, programs that it starts and sockets of its file system, as they were typed there. One
        /// that the documents name and that is not among them is left to its sidecars.
        started: Arc<BTreeMap<Arc<str>, Reach>>,
    },
    /// The sidecar of a server.
    Sidecar {
        /// The server. When the documents do not have it, the snapshot has no server at all.
        server: Arc<str>,
        /// How this sidecar reaches it, as it was typed on its own machine.
        reach: Box<Reach>,
    },
}

impl Role {
    /// The gateway it is, where it is one of several.
    pub(crate) fn gateway(&self) -> Option<&Arc<str>> {
        match self {
            Self::Gateway { name, .. } => Some(name),
            Self::Alone | Self::Sidecar { .. } => None,
        }
    }

    /// The only server it knows, where it is a sidecar.
    pub(crate) fn server(&self) -> Option<&Arc<str>> {
        match self {
            Self::Sidecar { server, .. } => Some(server),
            Self::Alone | Self::Gateway { .. } => None,
        }
    }

    /// How it reaches a server of which the documents say `told`.
    pub(crate) fn reach(&self, name: &str, told: Reach) -> Reach {
        match self {
            Self::Alone => told,
            Self::Sidecar { reach, .. } => (**reach).clone(),
            Self::Gateway { started, .. } if told.is_of_one_machine() => {
                started.get(name).cloned().unwrap_or_else(|| Reach::Sidecar {
                    version: crate::limits::SERVER_VERSION.into(),
                    beside: None,
                })
            }
            Self::Gateway { .. } => told,
        }
    }
}
