//! A resource is written in one way, and whatever is written in another is refused.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod scene;

use bytes::Bytes;
use meshgate_sync::resource::{
    Admission, Body, Denial, Denied, Endpoints, Group, KeyRing, Object, ResourceError, TrustBundle, Whom,
};
use meshgate_sync::{Key, Kind, Resource, limits, proto};
use prost::Message as _;
use scene::{GATEWAY, Signer, id};

fn all() -> Vec<std::sync::Arc<Resource>> {
    let signer = Signer::new(1);
    vec![
        scene::object("Server", "documents", 1),
        scene::tokens("assistant"),
        scene::endpoints("documents", &[3, 1, 2]),
        scene::admission("documents", &[GATEWAY]),
        scene::bundle(&[&signer]),
        scene::ring("first ring"),
        scene::denied(&[7, 9]),
    ]
}

fn refused(message: proto::Resource) -> ResourceError {
    Resource::read(Bytes::from(message.encode_to_vec())).unwrap_err()
}

fn field(error: &ResourceError) -> &'static str {
    match error {
        ResourceError::Field { field, .. } => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_is_read_as_it_was_written_and_named_by_what_it_says() {
    let names = [
        "object Server/documents",
        "tokens assistant",
        "endpoints server/documents",
        "admission documents",
        "trust bundle corp.example",
        "key ring gateways",
        "denied mesh",
    ];
    for ((resource, name), kind) in all().iter().zip(names).zip(Kind::ALL) {
        let read = Resource::read(resource.bytes().clone()).unwrap();
        assert_eq!(read, **resource);
        assert_eq!(read.key().to_string(), name);
        assert_eq!(read.key().kind, kind);
        assert_eq!(Resource::name(resource.bytes()), Some(resource.key().clone()));
    }
}

#[test]
fn another_content_is_another_version_and_the_same_content_the_same() {
    let one = scene::object("View", "all", 1);
    assert_eq!(one.digest(), scene::object("View", "all", 1).digest());
    assert_ne!(one.digest(), scene::object("View", "all", 2).digest());
    assert_eq!(
        scene::endpoints("a", &[2, 1]).digest(),
        scene::endpoints("a", &[1, 2]).digest()
    );
}

#[test]
fn no_secret_is_in_what_is_printed_of_a_resource() {
    let ring = scene::ring("a-secret-ring");
    let tokens = scene::tokens("assistant");
    let printed = format!("{ring:?} {tokens:?}");
    assert!(!printed.contains("secret") && !printed.contains("sha256"), "{printed}");
}

#[test]
fn a140_every_flipped_bit_of_a_resource_is_refused_or_another_version() {
    for resource in all() {
        for bit in 0..resource.bytes().len() * 8 {
            let mut bytes = resource.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Resource::read(Bytes::from(bytes)) {
                assert_ne!(other.digest(), resource.digest(), "{resource:?}, bit {bit}");
            }
        }
    }
}

#[test]
fn a140_a_resource_cut_short_is_refused_at_every_byte() {
    for resource in all() {
        for end in 0..resource.bytes().len() {
            let cut = resource.bytes().slice(..end);
            // What is left can be a resource only if it is one of another content, never the same.
            assert_ne!(Resource::read(cut).ok().as_ref(), Some(&*resource), "{end}");
        }
    }
}

#[test]
fn a140_an_unknown_field_a_field_twice_and_another_order_are_refused() {
    let object = scene::object("Server", "documents", 1);
    let inner = proto::Resource::decode(object.bytes().clone()).unwrap();
    // Field 15, varint: unknown at the top.
    let unknown = [object.bytes(), &[0x78, 0x01][..]].concat();
    assert_eq!(Resource::read(unknown.into()).unwrap_err(), ResourceError::Canonical);
    // The whole twice: the last would win.
    let twice = [object.bytes().as_ref(), object.bytes()].concat();
    assert_eq!(Resource::read(twice.into()).unwrap_err(), ResourceError::Canonical);
    // Two bodies: the last would win.
    let both = [object.bytes().as_ref(), scene::denied(&[]).bytes()].concat();
    assert_eq!(Resource::read(both.into()).unwrap_err(), ResourceError::Canonical);
    // An unknown field within: the object's message with field 9 behind it.
    let Some(proto::resource::Body::Object(object)) = inner.body else {
        panic!()
    };
    let mut within = object.encode_to_vec();
    within.extend([0x4a, 0x01, b'x']);
    let mut bytes = vec![0x0a];
    prost::encoding::encode_varint(within.len() as u64, &mut bytes);
    bytes.extend(within);
    assert_eq!(Resource::read(bytes.into()).unwrap_err(), ResourceError::Canonical);
    // A length that is written longer than it needs to be.
    let denied = scene::denied(&[]);
    assert_eq!(denied.bytes().as_ref(), [0x3a, 0x00]);
    let long = Bytes::from_static(&[0x3a, 0x80, 0x00]);
    assert_eq!(Resource::read(long).unwrap_err(), ResourceError::Canonical);
}

#[test]
fn a140_blank_required_fields_are_refused() {
    use proto::resource::Body;
    let of = |body| refused(proto::Resource { body: Some(body) });
    let cases: Vec<(&str, ResourceError)> = vec![
        ("object.kind", of(Body::Object(proto::Object::default()))),
        (
            "object.name",
            of(Body::Object(proto::Object {
                kind: "Server".into(),
                ..proto::Object::default()
            })),
        ),
        (
            "object.json",
            of(Body::Object(proto::Object {
                kind: "Server".into(),
                name: "documents".into(),
                json: String::new(),
            })),
        ),
        ("tokens.application", of(Body::Tokens(proto::Tokens::default()))),
        ("endpoints.group", of(Body::Endpoints(proto::Endpoints::default()))),
        ("admission.server", of(Body::Admission(proto::Admission::default()))),
        (
            "trust_bundle.trust_domain",
            of(Body::TrustBundle(proto::TrustBundle::default())),
        ),
        ("key_ring.text", of(Body::KeyRing(proto::KeyRing::default()))),
        (
            "denied.denials.whom",
            of(Body::Denied(proto::Denied {
                denials: vec![proto::Denial::default()],
            })),
        ),
        (
            "endpoints.endpoints.identity",
            of(endpoint(|_| proto::Endpoint::default())),
        ),
        (
            "endpoints.endpoints.instance",
            of(endpoint(|endpoint| proto::Endpoint {
                instance: 0,
                ..endpoint
            })),
        ),
        (
            "endpoints.endpoints.address",
            of(endpoint(|endpoint| proto::Endpoint {
                address: String::new(),
                ..endpoint
            })),
        ),
        (
            "endpoints.endpoints.version",
            of(endpoint(|endpoint| proto::Endpoint {
                version: String::new(),
                ..endpoint
            })),
        ),
    ];
    for (wanted, error) in cases {
        assert_eq!(field(&error), wanted, "{error}");
    }
    assert_eq!(refused(proto::Resource::default()), ResourceError::Malformed);
}

fn endpoint(change: impl Fn(proto::Endpoint) -> proto::Endpoint) -> proto::resource::Body {
    proto::resource::Body::Endpoints(proto::Endpoints {
        group: "server/documents".into(),
        settled: true,
        endpoints: vec![change(proto::Endpoint {
            instance: 1,
            version: "v1".into(),
            address: "10.0.0.1:7320".into(),
            identity: scene::SIDECAR.into(),
        })],
    })
}

#[test]
fn a140_what_says_it_is_something_else_is_refused() {
    let object = |kind: &str, name: &str, json: &str| {
        let error = Resource::new(Body::Object(Object {
            kind: kind.into(),
            name: name.into(),
            json: json.into(),
        }));
        field(&error.unwrap_err())
    };
    let json = r#"{"kind":"Server","metadata":{"name":"documents"}}"#;
    assert_eq!(object("Secret", "documents", json), "object.kind");
    assert_eq!(object("Server", "../documents", json), "object.name");
    assert_eq!(object("View", "documents", json), "object.json");
    assert_eq!(object("Server", "other", json), "object.json");
    let twice = r#"{"kind":"Server","kind":"View","metadata":{"name":"documents"}}"#;
    assert_eq!(object("Server", "documents", twice), "object.json");
    let names = r#"{"kind":"Server","metadata":{"name":"documents","name":"other"}}"#;
    assert_eq!(object("Server", "other", names), "object.json");

    let of = |body| field(&refused(proto::Resource { body: Some(body) }));
    let elsewhere = endpoint(|endpoint| proto::Endpoint {
        identity: "spiffe://corp.example/server/projects/v1".into(),
        ..endpoint
    });
    assert_eq!(of(elsewhere), "endpoints.endpoints.identity");
    let version = endpoint(|endpoint| proto::Endpoint {
        version: "v2".into(),
        ..endpoint
    });
    assert_eq!(of(version), "endpoints.endpoints.version");
    for nowhere in ["0.0.0.0:7320", "10.0.0.1:0", "224.0.0.1:7320", "[::]:7320"] {
        let nowhere = endpoint(|endpoint| proto::Endpoint {
            address: nowhere.into(),
            ..endpoint
        });
        assert_eq!(of(nowhere), "endpoints.endpoints.address");
    }
    let padded = endpoint(|endpoint| proto::Endpoint {
        address: "10.0.0.1:07320".into(),
        ..endpoint
    });
    assert_eq!(
        refused(proto::Resource { body: Some(padded) }),
        ResourceError::Canonical
    );
    let sidecar = Body::Admission(Admission {
        server: "documents".into(),
        gateways: vec![id(scene::SIDECAR)],
    });
    assert_eq!(field(&Resource::new(sidecar).unwrap_err()), "admission.gateways");
}

#[test]
fn lists_that_are_out_of_order_or_say_a_thing_twice_are_refused() {
    let gateways = |list: &[&str]| {
        refused(proto::Resource {
            body: Some(proto::resource::Body::Admission(proto::Admission {
                server: "documents".into(),
                gateways: list.iter().map(|one| (*one).to_owned()).collect(),
            })),
        })
    };
    let other = "spiffe://corp.example/gateway/a";
    assert_eq!(field(&gateways(&[GATEWAY, other])), "admission.gateways");
    assert_eq!(field(&gateways(&[GATEWAY, GATEWAY])), "admission.gateways");
    let twice = Body::Denied(Denied {
        denials: ["first", "second"].map(denial_of_gateway).to_vec(),
    });
    assert_eq!(field(&Resource::new(twice).unwrap_err()), "denied.denials");
}

fn denial_of_gateway(reason: &str) -> Denial {
    Denial {
        whom: Whom::Identity(id(GATEWAY)),
        reason: reason.to_owned(),
    }
}

/// Whether as many as the limit are taken, and one more is not.
fn at_limit(limit: usize, of: impl Fn(usize) -> Body) {
    for (count, sound) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        let made = Resource::new(of(count));
        assert_eq!(made.is_ok(), sound, "{count} of {limit}: {:?}", made.err());
        if let Ok(made) = made {
            assert_eq!(Resource::read(made.bytes().clone()).unwrap(), made);
        }
    }
}

#[test]
fn each_limit_of_a_resource_holds_to_the_unit() {
    let serial = |number: usize| Whom::Serial(vec![1 + (number >> 8) as u8, number as u8]);
    at_limit(limits::DENIALS_MAX, |count| {
        let denial = |number| Denial {
            whom: serial(number),
            reason: "stolen".into(),
        };
        Body::Denied(Denied {
            denials: (0..count).map(denial).collect(),
        })
    });
    at_limit(limits::TEXT_BYTES_MAX, |count| {
        Body::Denied(Denied {
            denials: vec![denial_of_gateway(&"x".repeat(count))],
        })
    });
    at_limit(limits::ENDPOINTS_MAX, |count| {
        let instances: Vec<u64> = (1..=count as u64).collect();
        let one = scene::endpoints("documents", &[1]);
        let Body::Endpoints(one) = one.body() else { panic!() };
        let endpoints = instances.iter().map(|instance| meshgate_sync::resource::Endpoint {
            instance: (*instance).try_into().unwrap(),
            ..one.endpoints[0].clone()
        });
        Body::Endpoints(Endpoints {
            group: Group::Server("documents".into()),
            settled: true,
            endpoints: endpoints.collect(),
        })
    });
    at_limit(limits::GATEWAYS_MAX, |count| {
        let gateway = |number| id(&format!("spiffe://corp.example/gateway/g{number}"));
        Body::Admission(Admission {
            server: "documents".into(),
            gateways: (0..count).map(gateway).collect(),
        })
    });
    let bundle = |roots: Vec<Vec<u8>>, keys: usize| {
        Body::TrustBundle(TrustBundle {
            trust_domain: scene::DOMAIN.parse().unwrap(),
            roots,
            snapshot_keys: (0..keys).map(|key| [key as u8; 32]).collect(),
        })
    };
    at_limit(limits::ROOTS_MAX, |count| {
        bundle((0..count).map(|root| vec![root as u8]).collect(), 1)
    });
    at_limit(limits::ROOT_BYTES_MAX, |count| bundle(vec![vec![0; count]], 1));
    at_limit(limits::SNAPSHOT_KEYS_MAX, |count| bundle(vec![vec![0]], count));
    assert!(Resource::new(bundle(Vec::new(), 1)).is_err() && Resource::new(bundle(vec![vec![0]], 0)).is_err());
    at_limit(limits::KEY_RING_BYTES_MAX, |count| {
        Body::KeyRing(KeyRing {
            text: "x".repeat(count),
        })
    });
}

#[test]
fn a_resource_of_exactly_the_largest_size_is_taken_and_one_byte_more_is_not() {
    let of = |padding: usize| {
        let json = format!(
            r#"{{"kind":"View","metadata":{{"name":"all"}},"x":"{}"}}"#,
            "x".repeat(padding)
        );
        Resource::new(Body::Object(Object {
            kind: "View".into(),
            name: "all".into(),
            json,
        }))
    };
    let around = of(limits::RESOURCE_BYTES_MAX / 2).unwrap().bytes().len() - limits::RESOURCE_BYTES_MAX / 2;
    let most = limits::RESOURCE_BYTES_MAX - around;
    for (padding, sound) in [(most - 1, true), (most, true), (most + 1, false)] {
        assert_eq!(of(padding).is_ok(), sound, "{padding}");
    }
    assert_eq!(of(most).unwrap().bytes().len(), limits::RESOURCE_BYTES_MAX);
    let large = Bytes::from(vec![0; limits::RESOURCE_BYTES_MAX + 1]);
    assert!(matches!(Resource::read(large), Err(ResourceError::TooLarge { .. })));
}

#[test]
fn a_name_that_does_not_fit_is_not_repeated() {
    let long = proto::Resource {
        body: Some(proto::resource::Body::Admission(proto::Admission {
            server: "x".repeat(limits::NAME_BYTES_MAX + 1),
            gateways: Vec::new(),
        })),
    };
    assert_eq!(Resource::name(&Bytes::from(long.encode_to_vec())), None);
    assert_eq!(Resource::name(&Bytes::from_static(b"\xff\xff")), None);
    assert_eq!(Key::new(Kind::Denied, "mesh").to_string(), "denied mesh");
}
