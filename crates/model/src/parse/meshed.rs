//! A file as a mesh: sidecars for servers that the file gives none, and tokens as digests.
//!
//! The same file serves one process and a mesh. What `meshgate up --mesh` adds is not written by anybody, so it is added here,
//! before anything is checked, and everything else (findings, differences, what is applied) follows from it.

use super::{Config, Spec};
use crate::kinds::{SidecarSpec, Token};
use crate::snapshot::{Digest, Snapshot};

impl Config {
    /// Gives every server a sidecar that has none; it reaches the server as the file says.
    #[must_use]
    pub fn with_sidecars(mut self) -> Self {
        for document in &mut self.documents {
            if let Spec::Server(server) = &mut document.spec {
                server.sidecar.get_or_insert_with(SidecarSpec::default);
            }
        }
        self
    }

    /// Whether a server has a sidecar.
    pub fn has_sidecars(&self) -> bool {
        let mut servers = self.documents.iter();
        servers.any(|document| matches!(&document.spec, Spec::Server(server) if server.sidecar.is_some()))
    }

    /// Names the tokens of applications by what `snapshot` knows of them, so that what is handed on refers to no file and
    /// no variable of this machine.
    #[must_use]
    pub fn with_token_digests(mut self, snapshot: &Snapshot) -> Self {
        for document in &mut self.documents {
            if let Spec::Application(application) = &mut document.spec {
                let digests = snapshot.token_digests(&document.metadata.name);
                application.tokens = digests.iter().map(token).collect();
            }
        }
        self
    }
}

fn token(digest: &Digest) -> Token {
    let hexadecimal = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Token {
        file: None,
        environment: None,
        sha256: Some(hexadecimal),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use crate::snapshot::{LOCAL_APPLICATION, Reach};

    const TWO: &str = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: a}\nspec: {http: {url: \"http://127.0.0.1:9/mcp\"}}\n---\n\
        apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: b}\nspec: {sidecar: {version: v2}, stdio: {command: \"true\"}}\n";

    #[test]
    fn every_server_gets_a_sidecar_that_reaches_it_as_the_file_says() {
        let config = crate::parse("mesh.yaml", TWO).unwrap();
        assert!(config.has_sidecars());
        let (snapshot, _) = config.with_sidecars().compile().unwrap();
        for (name, wanted) in [("a", "v1"), ("b", "v2")] {
            let Reach::Sidecar { version, beside } = &snapshot.servers[name].reach else {
                unreachable!("{name} has no sidecar");
            };
            assert_eq!(&**version, wanted);
            assert!(beside.is_some());
        }
    }

    #[test]
    fn servers_of_an_mcp_json_get_them_too() {
        let config = crate::parse("mcp.json", r#"{"mcpServers":{"a":{"command":"true"}}}"#).unwrap();
        assert!(!config.has_sidecars());
        assert!(config.with_sidecars().has_sidecars());
    }

    #[test]
    fn tokens_are_named_by_their_digests_and_by_nothing_else() {
        let text = format!(
            "{TWO}---\napiVersion: meshgate.dev/v1alpha1\nkind: Application\nmetadata: {{name: {LOCAL_APPLICATION}}}\n\
             spec: {{views: ['*'], tokens: [{{file: secret}}, {{environment: NAME}}]}}\n"
        );
        let config = crate::parse("mesh.yaml", &text).unwrap();
        let (mut snapshot, _) = config.clone().compile().unwrap();
        assert!(snapshot.add_token(LOCAL_APPLICATION, [7; 32]));
        let (named, _) = config.with_token_digests(&snapshot).compile().unwrap();
        assert_eq!(named.token_digests(LOCAL_APPLICATION), [[7; 32]]);
        assert_eq!(named.applications[0].tokens.len(), 1);
    }
}
