//! Gateways and sidecars of one mesh, in one process, over real mutual TLS.

use std::sync::Arc;

use meshgate_identity::KeyRing;
use meshgate_proxy::gateway::MeshParts;
use meshgate_proxy::hop::{Endpoint, Endpoints, HopLimits, HopOptions};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_testkit::ScriptedServer;
use meshgate_testkit::ca::TestCa;

use super::inside::{GATEWAY, RunningSidecar, SERVER, authority, id, identity};
use super::{RunningGateway, UNHURRIED, compiled, mesh, mesh_with};

/// A mesh file of the server `only`, which is behind sidecars.
pub fn behind_sidecars() -> String {
    let direct = mesh_with("", &[("only", "http://127.0.0.1:1/", "")], UNHURRIED);
    direct.replace("http: {url: 'http://127.0.0.1:1/'}", "sidecar: {version: v1}")
}

pub struct Meshed {
    pub ca: Arc<TestCa>,
    pub endpoints: Arc<Endpoints>,
    keys: Arc<KeyRing>,
}

impl Meshed {
    pub fn new() -> Self {
        Self {
            ca: authority(),
            endpoints: Arc::default(),
            keys: Arc::new(KeyRing::from_entropy().unwrap()),
        }
    }

    /// A sidecar in front of a server.
    pub async fn sidecar(&self, server: &ScriptedServer) -> RunningSidecar {
        self.sidecar_of(&mesh(&[("only", &server.url())], UNHURRIED)).await
    }

    pub async fn sidecar_of(&self, yaml: &str) -> RunningSidecar {
        let mut snapshot = compiled(yaml);
        let _ = snapshot.add_token("local", meshgate_identity::token_digest(super::TOKEN));
        RunningSidecar::start_with(&snapshot, self.ca.clone(), [id(GATEWAY)].into_iter().collect()).await
    }

    /// Makes the table say that these are there, and no others.
    pub fn sidecars(&self, sidecars: &[(u64, &RunningSidecar)]) {
        let all = sidecars.iter().map(|(instance, sidecar)| Endpoint {
            instance: *instance,
            version: "v1".into(),
            address: sidecar.address.to_string().into(),
            spiffe_id: id(SERVER),
        });
        self.endpoints.set("server/only", true, all.collect());
    }

    /// A replica of the gateway `main`; all have one key ring.
    pub async fn gateway(&self, instance: u64, yaml: &str) -> RunningGateway {
        let parts = MeshParts {
            hop: HopOptions {
                identity: identity(&self.ca, GATEWAY),
                endpoints: self.endpoints.clone(),
                instance,
                limits: HopLimits::default(),
            },
            address: "127.0.0.1:0".parse().unwrap(),
        };
        let snapshot = compiled(yaml);
        RunningGateway::start_in(snapshot, self.keys.clone(), SupervisorProgram::default(), Some(parts)).await
    }

    /// Makes the table say that these replicas are there, and no others.
    pub fn gateways(&self, gateways: &[(u64, &RunningGateway)]) {
        let all = gateways.iter().map(|(instance, gateway)| Endpoint {
            instance: *instance,
            version: "".into(),
            address: gateway.mesh_address.unwrap().to_string().into(),
            spiffe_id: id(GATEWAY),
        });
        self.endpoints.set("gateway/main", true, all.collect());
    }
}
