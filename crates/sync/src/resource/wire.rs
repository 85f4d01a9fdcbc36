//! Between what a resource says and its message.

use std::num::NonZeroU64;

use bytes::Bytes;
use meshgate_model::{Part, SpiffeId};

use super::body::{Admission, Body, Denial, Denied, Endpoint, Endpoints, KeyRing, Object, Tokens, TrustBundle, Whom};
use super::check::{ResourceError, wrong};
use super::{Key, Kind};
use crate::limits;
use crate::proto::{self, denial, resource};

pub(super) fn write(body: &Body) -> proto::Resource {
    let body = match body {
        Body::Object(object) => resource::Body::Object(proto::Object {
            kind: object.kind.clone(),
            name: object.name.clone(),
            json: object.json.clone(),
        }),
        Body::Tokens(tokens) => resource::Body::Tokens(proto::Tokens {
            application: tokens.application.clone(),
            json: tokens.json.clone(),
        }),
        Body::Endpoints(endpoints) => resource::Body::Endpoints(proto::Endpoints {
            group: endpoints.group.to_string(),
            settled: endpoints.settled,
            endpoints: endpoints.endpoints.iter().map(endpoint).collect(),
        }),
        Body::Admission(admission) => resource::Body::Admission(proto::Admission {
            server: admission.server.clone(),
            gateways: admission.gateways.iter().map(SpiffeId::to_string).collect(),
        }),
        Body::TrustBundle(bundle) => resource::Body::TrustBundle(bundle.write()),
        Body::KeyRing(ring) => resource::Body::KeyRing(proto::KeyRing {
            text: ring.text.clone(),
        }),
        Body::Denied(denied) => resource::Body::Denied(proto::Denied {
            denials: denied.denials.iter().map(denial).collect(),
        }),
    };
    proto::Resource { body: Some(body) }
}

fn endpoint(endpoint: &Endpoint) -> proto::Endpoint {
    proto::Endpoint {
        instance: endpoint.instance.get(),
        version: endpoint.version.as_deref().unwrap_or_default().to_owned(),
        address: endpoint.address.to_string(),
        identity: endpoint.identity.to_string(),
    }
}

fn denial(denial: &Denial) -> proto::Denial {
    let whom = match &denial.whom {
        Whom::Identity(id) => denial::Whom::Identity(id.to_string()),
        Whom::Serial(serial) => denial::Whom::Serial(Bytes::copy_from_slice(serial)),
    };
    proto::Denial {
        whom: Some(whom),
        reason: denial.reason.clone(),
    }
}

pub(super) fn read(message: proto::Resource) -> Result<Body, ResourceError> {
    Ok(match message.body.ok_or(ResourceError::Malformed)? {
        resource::Body::Object(object) => Body::Object(Object {
            kind: object.kind,
            name: object.name,
            json: object.json,
        }),
        resource::Body::Tokens(tokens) => Body::Tokens(Tokens {
            application: tokens.application,
            json: tokens.json,
        }),
        resource::Body::Endpoints(endpoints) => Body::Endpoints(read_endpoints(&endpoints)?),
        resource::Body::Admission(admission) => Body::Admission(read_admission(admission)?),
        resource::Body::TrustBundle(bundle) => Body::TrustBundle(TrustBundle::read(&bundle)?),
        resource::Body::KeyRing(ring) => Body::KeyRing(KeyRing { text: ring.text }),
        resource::Body::Denied(denied) => Body::Denied(read_denied(denied)?),
    })
}

/// What a resource seems to be called, for the message that refuses it.
pub(super) fn name(message: &proto::Resource) -> Option<Key> {
    let (kind, name) = match message.body.as_ref()? {
        resource::Body::Object(object) => (Kind::Object, format!("{}/{}", object.kind, object.name)),
        resource::Body::Tokens(tokens) => (Kind::Tokens, tokens.application.clone()),
        resource::Body::Endpoints(endpoints) => (Kind::Endpoints, endpoints.group.clone()),
        resource::Body::Admission(admission) => (Kind::Admission, admission.server.clone()),
        resource::Body::TrustBundle(bundle) => (Kind::TrustBundle, bundle.trust_domain.clone()),
        resource::Body::KeyRing(_) => (Kind::KeyRing, KeyRing::NAME.to_owned()),
        resource::Body::Denied(_) => (Kind::Denied, Denied::NAME.to_owned()),
    };
    (name.len() <= limits::NAME_BYTES_MAX).then(|| Key::new(kind, &name))
}

fn read_endpoints(message: &proto::Endpoints) -> Result<Endpoints, ResourceError> {
    let group = message
        .group
        .parse()
        .map_err(|()| wrong("endpoints.group", "is neither `server/<name>` nor `gateway/<name>`"))?;
    if message.endpoints.len() > limits::ENDPOINTS_MAX {
        return Err(wrong("endpoints.endpoints", "has more than 1,000 of them"));
    }
    Ok(Endpoints {
        group,
        settled: message.settled,
        endpoints: message.endpoints.iter().map(read_endpoint).collect::<Result<_, _>>()?,
    })
}

fn read_endpoint(message: &proto::Endpoint) -> Result<Endpoint, ResourceError> {
    let identity = id(&message.identity, "endpoints.endpoints.identity")?;
    let version = match identity.part() {
        Part::Server { .. } => Some(message.version.as_str().into()),
        _ if message.version.is_empty() => None,
        _ => return Err(wrong("endpoints.endpoints.version", "is given for what has none")),
    };
    Ok(Endpoint {
        instance: NonZeroU64::new(message.instance)
            .ok_or_else(|| wrong("endpoints.endpoints.instance", "is missing"))?,
        version,
        address: message
            .address
            .parse()
            .map_err(|_| wrong("endpoints.endpoints.address", "is not an address and a port"))?,
        identity,
    })
}

fn read_admission(message: proto::Admission) -> Result<Admission, ResourceError> {
    let gateways = message.gateways.iter().map(|gateway| id(gateway, "admission.gateways"));
    Ok(Admission {
        gateways: gateways.collect::<Result<_, _>>()?,
        server: message.server,
    })
}

fn read_denied(message: proto::Denied) -> Result<Denied, ResourceError> {
    let denials = message.denials.into_iter().map(|denial| {
        let whom = match denial.whom {
            Some(denial::Whom::Identity(text)) => Whom::Identity(id(&text, "denied.denials.identity")?),
            Some(denial::Whom::Serial(serial)) => Whom::Serial(serial.to_vec()),
            None => return Err(wrong("denied.denials.whom", "is missing")),
        };
        Ok(Denial {
            whom,
            reason: denial.reason,
        })
    });
    Ok(Denied {
        denials: denials.collect::<Result<_, _>>()?,
    })
}

impl TrustBundle {
    /// As a message, for `EnrolReply` as well.
    pub fn write(&self) -> proto::TrustBundle {
        let of_key = |key: &[u8; 32]| Bytes::copy_from_slice(key);
        proto::TrustBundle {
            trust_domain: self.trust_domain.to_string(),
            roots: self.roots.iter().cloned().map(Bytes::from).collect(),
            snapshot_keys: self.snapshot_keys.iter().map(of_key).collect(),
        }
    }

    /// From a message; how many there may be of each is checked with the resource.
    ///
    /// # Errors
    /// When the trust domain is none, or a key has not 32 bytes.
    pub fn read(message: &proto::TrustBundle) -> Result<Self, ResourceError> {
        let key = |key: &Bytes| {
            let key: Result<[u8; 32], _> = key.as_ref().try_into();
            key.map_err(|_| wrong("trust_bundle.snapshot_keys", "has one that is not 32 bytes long"))
        };
        Ok(Self {
            trust_domain: message
                .trust_domain
                .parse()
                .map_err(|_| wrong("trust_bundle.trust_domain", "is no trust domain"))?,
            roots: message.roots.iter().map(|root| root.to_vec()).collect(),
            snapshot_keys: message.snapshot_keys.iter().map(key).collect::<Result<_, _>>()?,
        })
    }
}

fn id(text: &str, field: &'static str) -> Result<SpiffeId, ResourceError> {
    text.parse()
        .map_err(|_| wrong(field, "is not the SPIFFE ID of a part of a mesh"))
}
