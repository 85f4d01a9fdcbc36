#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use meshgate_model::Reach;
use meshgate_sync::resource::{self, Body, Group, Object, Resource, Tokens, Whom};

use super::*;

fn object(kind: &str, name: &str, spec: &str) -> Body {
    Body::Object(Object {
        kind: kind.to_owned(),
        name: name.to_owned(),
        json: format!(
            r#"{{"apiVersion":"meshgate.dev/v1alpha1","kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
        ),
    })
}

fn held(bodies: Vec<Body>) -> BTreeMap<Key, Arc<Resource>> {
    let resources = bodies.into_iter().map(|body| Arc::new(Resource::new(body).unwrap()));
    resources.map(|resource| (resource.key().clone(), resource)).collect()
}

fn corp() -> Vec<Body> {
    vec![
        object("Mesh", "corp", "{}"),
        object("Gateway", "main", "{}"),
        object("Server", "documents", r#"{"sidecar":{}}"#),
        object("View", "desk", r#"{"servers":[{"name":"documents"}]}"#),
        object("Application", "assist", r#"{"tokens":[],"views":["desk"]}"#),
    ]
}

fn gateway() -> Role {
    Role::Gateway {
        name: "main".into(),
        started: Arc::default(),
    }
}

fn sidecar() -> Role {
    Role::Sidecar {
        server: "documents".into(),
        reach: Box::new(Reach::Http {
            url: "http://127.0.0.1:9/mcp".into(),
            headers: Vec::new(),
        }),
    }
}

fn place() -> (tempfile::TempDir, Directory) {
    let scratch = tempfile::tempdir().unwrap();
    let directory = Directory::open(&scratch.path().join("state")).unwrap();
    (scratch, directory)
}

#[test]
fn everything_a_gateway_is_told_comes_out_in_the_form_its_parts_take() {
    let (_scratch, directory) = place();
    let id: SpiffeId = "spiffe://corp.mesh/server/documents/v1".parse().unwrap();
    let mut bodies = corp();
    bodies.push(Body::Tokens(Tokens {
        application: "assist".into(),
        json: format!(r#"[{{"sha256":"{}"}}]"#, "ab".repeat(32)),
    }));
    bodies.push(Body::Endpoints(resource::Endpoints {
        group: Group::Server("documents".into()),
        settled: true,
        endpoints: vec![resource::Endpoint {
            instance: 7.try_into().unwrap(),
            version: Some("v1".into()),
            address: "10.0.0.7:7320".parse().unwrap(),
            identity: id.clone(),
        }],
    }));
    bodies.push(Body::KeyRing(resource::KeyRing {
        text: KeyRing::generate(&mut |out| out.fill(3)).to_text().to_string(),
    }));
    bodies.push(Body::Denied(resource::Denied {
        denials: vec![
            resource::Denial {
                whom: Whom::Identity(id),
                reason: "stolen".into(),
            },
            resource::Denial {
                whom: Whom::Serial(vec![0x0a, 0xff]),
                reason: "lost".into(),
            },
        ],
    }));
    let told = told(&held(bodies), Some(&gateway()), 42, &directory).unwrap();
    let snapshot = told.snapshot.unwrap();
    assert_eq!(snapshot.revision, 42);
    assert_eq!(
        &*snapshot.application_by_token_digest(&[0xab; 32]).unwrap().name,
        "assist"
    );
    assert_eq!(told.endpoints[0].0, "server/documents");
    assert_eq!(
        (told.endpoints[0].1, &*told.endpoints[0].2[0].address),
        (true, "10.0.0.7:7320")
    );
    assert!(told.ring.is_some());
    assert_eq!(told.denied.len(), 2);
}

#[test]
fn what_does_not_compile_is_refused_by_the_name_of_its_resource() {
    let (_scratch, directory) = place();
    let mut bodies = corp();
    bodies[3] = object("View", "desk", r#"{"servers":[{"name":"nobody"}]}"#);
    let refused = told(&held(bodies), Some(&gateway()), 1, &directory).err().unwrap();
    assert_eq!(refused.key.unwrap().to_string(), "object View/desk");
    assert!(refused.message.contains("nobody"), "{}", refused.message);
    let mut bodies = corp();
    bodies[2] = object("Server", "documents", r#"{"sidecar":{},"newer":true}"#);
    let refused = told(&held(bodies), Some(&sidecar()), 1, &directory).err().unwrap();
    assert_eq!(refused.key.unwrap().to_string(), "object Server/documents");
}

#[test]
fn a_token_that_cannot_be_read_here_is_refused_by_its_application() {
    let (_scratch, directory) = place();
    let mut bodies = corp();
    bodies.push(Body::Tokens(Tokens {
        application: "assist".into(),
        json: r#"[{"file":"/no/such/file"}]"#.into(),
    }));
    let refused = told(&held(bodies), Some(&gateway()), 1, &directory).err().unwrap();
    assert_eq!(refused.key.unwrap().to_string(), "tokens assist");
}

#[test]
fn a_sidecar_is_told_who_may_call_and_an_empty_list_is_nobody() {
    let (_scratch, directory) = place();
    let id: SpiffeId = "spiffe://corp.mesh/gateway/main".parse().unwrap();
    let admission = |gateways| {
        Body::Admission(resource::Admission {
            server: "documents".into(),
            gateways,
        })
    };
    let with = |gateways| {
        let bodies = corp().into_iter().chain([admission(gateways)]).collect();
        told(&held(bodies), Some(&sidecar()), 1, &directory).unwrap().admitted
    };
    assert_eq!(with(vec![id.clone()]), [id]);
    assert!(with(Vec::new()).is_empty());
    let without = told(&held(corp()), Some(&sidecar()), 1, &directory).unwrap();
    assert!(without.admitted.is_empty());
}

#[test]
fn without_a_role_the_configuration_is_left_alone() {
    let (_scratch, directory) = place();
    let told = told(&held(corp()), None, 1, &directory).unwrap();
    assert!(told.snapshot.is_none());
}
