//! What must hold of a resource, before it is sent and after it came.

use meshgate_model::kinds::KINDS;
use meshgate_model::spiffe::is_name;
use meshgate_model::{Part, SpiffeId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use super::body::{Admission, Body, Denied, Endpoint, Endpoints, Group, KeyRing, Object, Tokens, TrustBundle, Whom};
use crate::limits;

/// Why something is no resource.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResourceError {
    /// It is larger than [`limits::RESOURCE_BYTES_MAX`].
    #[error(
        "the resource has {bytes} bytes, more than {}; split the document",
        limits::RESOURCE_BYTES_MAX
    )]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// It is not protobuf, or of no kind that is known.
    #[error("the resource is not one of those that version 1 of the contract has")]
    Malformed,
    /// It decodes, but is not what the same content encodes to.
    #[error("the resource has an unknown field, a field twice or fields out of order")]
    Canonical,
    /// A field breaks its rule.
    #[error("`{field}` of the resource {rule}")]
    Field {
        /// The field, as the contract spells it.
        field: &'static str,
        /// What it does and should not.
        rule: &'static str,
    },
}

type Checked = Result<(), ResourceError>;

fn unless(holds: bool, field: &'static str, rule: &'static str) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(ResourceError::Field { field, rule })
    }
}

pub(super) fn wrong(field: &'static str, rule: &'static str) -> ResourceError {
    ResourceError::Field { field, rule }
}

/// Lists in the one order they are written in.
pub(super) fn sorted(mut body: Body) -> Body {
    match &mut body {
        Body::Endpoints(endpoints) => endpoints.endpoints.sort_by_key(|endpoint| endpoint.instance),
        Body::Admission(admission) => admission.gateways.sort(),
        Body::TrustBundle(bundle) => {
            bundle.roots.sort();
            bundle.snapshot_keys.sort_unstable();
        }
        Body::Denied(denied) => denied.denials.sort(),
        Body::Object(_) | Body::Tokens(_) | Body::KeyRing(_) => {}
    }
    body
}

pub(super) fn body(body: &Body) -> Checked {
    match body {
        Body::Object(object) => self::object(object),
        Body::Tokens(tokens) => self::tokens(tokens),
        Body::Endpoints(endpoints) => self::endpoints(endpoints),
        Body::Admission(admission) => self::admission(admission),
        Body::TrustBundle(bundle) => self::bundle(bundle),
        Body::KeyRing(ring) => self::ring(ring),
        Body::Denied(denied) => self::denied(denied),
    }
}

/// The part of a document that names it. A name twice is an error of the parser.
#[derive(Deserialize)]
struct Head {
    kind: String,
    metadata: HeadMetadata,
}

#[derive(Deserialize)]
struct HeadMetadata {
    name: String,
}

fn object(object: &Object) -> Checked {
    unless(
        KINDS.contains(&object.kind.as_str()),
        "object.kind",
        "is none of `Mesh`, `Gateway`, `Server`, `View` and `Application`",
    )?;
    unless(is_name(&object.name), "object.name", "is not the name of a document")?;
    let head: Head =
        serde_json::from_str(&object.json).map_err(|_| wrong("object.json", "is not a document in JSON"))?;
    unless(
        head.kind == object.kind && head.metadata.name == object.name,
        "object.json",
        "is another document than the resource says",
    )
}

fn tokens(tokens: &Tokens) -> Checked {
    unless(
        is_name(&tokens.application),
        "tokens.application",
        "is not the name of a document",
    )?;
    let list = serde_json::from_str::<Vec<IgnoredAny>>(&tokens.json);
    unless(list.is_ok(), "tokens.json", "is not a list in JSON")
}

fn endpoints(endpoints: &Endpoints) -> Checked {
    let all = &endpoints.endpoints;
    unless(
        all.len() <= limits::ENDPOINTS_MAX,
        "endpoints.endpoints",
        "has more than 1,000 of them",
    )?;
    unless(
        rising(all.iter().map(|endpoint| endpoint.instance)),
        "endpoints.endpoints.instance",
        "is not in order, or there twice",
    )?;
    all.iter()
        .try_for_each(|endpoint| self::endpoint(&endpoints.group, endpoint))
}

fn endpoint(group: &Group, endpoint: &Endpoint) -> Checked {
    let address = endpoint.address;
    unless(
        address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast(),
        "endpoints.endpoints.address",
        "can be reached by nobody",
    )?;
    unless(
        Group::of(endpoint.identity.part()).as_ref() == Some(group),
        "endpoints.endpoints.identity",
        "is of another group",
    )?;
    let proven = match endpoint.identity.part() {
        Part::Server { version, .. } => Some(version),
        _ => None,
    };
    unless(
        proven == endpoint.version.as_ref(),
        "endpoints.endpoints.version",
        "is another one than the identity says",
    )
}

fn admission(admission: &Admission) -> Checked {
    unless(
        is_name(&admission.server),
        "admission.server",
        "is not the name of a document",
    )?;
    let gateways = &admission.gateways;
    unless(
        gateways.len() <= limits::GATEWAYS_MAX,
        "admission.gateways",
        "has more than 256 of them",
    )?;
    unless(
        rising(gateways),
        "admission.gateways",
        "is not in order, or names one twice",
    )?;
    let gateway = |id: &SpiffeId| matches!(id.part(), Part::Gateway(_));
    unless(
        gateways.iter().all(gateway),
        "admission.gateways",
        "names something else than a gateway",
    )
}

fn bundle(bundle: &TrustBundle) -> Checked {
    let roots = &bundle.roots;
    unless(
        (1..=limits::ROOTS_MAX).contains(&roots.len()),
        "trust_bundle.roots",
        "has not 1 to 16 of them",
    )?;
    let sound = |root: &Vec<u8>| (1..=limits::ROOT_BYTES_MAX).contains(&root.len());
    unless(
        roots.iter().all(sound),
        "trust_bundle.roots",
        "has one of no or too many bytes",
    )?;
    unless(rising(roots), "trust_bundle.roots", "is not in order, or has one twice")?;
    let keys = &bundle.snapshot_keys;
    unless(
        (1..=limits::SNAPSHOT_KEYS_MAX).contains(&keys.len()),
        "trust_bundle.snapshot_keys",
        "has not 1 to 4 of them",
    )?;
    unless(
        rising(keys),
        "trust_bundle.snapshot_keys",
        "is not in order, or has one twice",
    )
}

fn ring(ring: &KeyRing) -> Checked {
    unless(!ring.text.trim().is_empty(), "key_ring.text", "is blank")?;
    unless(
        ring.text.len() <= limits::KEY_RING_BYTES_MAX,
        "key_ring.text",
        "is longer than 64 KiB",
    )
}

fn denied(denied: &Denied) -> Checked {
    let denials = &denied.denials;
    unless(
        denials.len() <= limits::DENIALS_MAX,
        "denied.denials",
        "has more than 4,096 of them",
    )?;
    unless(
        rising(denials.iter().map(|denial| &denial.whom)),
        "denied.denials",
        "is not in order, or names one twice",
    )?;
    denials.iter().try_for_each(|denial| {
        if let Whom::Serial(serial) = &denial.whom {
            let sound = (1..=20).contains(&serial.len()) && serial.first() != Some(&0);
            unless(
                sound,
                "denied.denials.serial",
                "has not 1 to 20 bytes, the first not zero",
            )?;
        }
        let reason = &denial.reason;
        unless(
            !reason.trim().is_empty() && reason.len() <= limits::TEXT_BYTES_MAX,
            "denied.denials.reason",
            "is blank or longer than 1 KiB",
        )
    })
}

/// Whether each is greater than the one before.
fn rising<T: Ord>(all: impl IntoIterator<Item = T>) -> bool {
    let mut before = None;
    all.into_iter().all(|one| {
        let rises = before.as_ref().is_none_or(|before| *before < one);
        before = Some(one);
        rises
    })
}
