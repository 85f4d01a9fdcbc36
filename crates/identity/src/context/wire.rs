//! The claims of a context as they are written.
//!
//! Every claim that counts is required and has one type: an `exp` that is a text is no `exp`. A claim that comes twice is
//! refused. Claims that this version does not know are passed over, so that a newer gateway can say more to an older sidecar;
//! whatever narrows what a caller may do must therefore never be said in a new claim alone.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use meshgate_model::SpiffeId;
use serde::{Deserialize, Serialize};

use super::{Caller, ContextClaims};
use crate::limits::CONTEXT_LIST_MAX;

/// What a context is good for: a call of a caller.
const SCOPE_CALL: &str = "call";
/// What a context is good for: the gateway's own upkeep.
const SCOPE_KEEP: &str = "keep";

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    iss: Cow<'a, str>,
    aud: Cow<'a, str>,
    iat: u64,
    exp: u64,
    txn: Cow<'a, str>,
    sub: Cow<'a, str>,
    scope: Cow<'a, str>,
    req_wl: Cow<'a, str>,
    tctx: Details<'a>,
}

#[derive(Default, Serialize, Deserialize)]
struct Details<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    application: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    view: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gateway: bool,
}

/// The claims as JSON; `times` are those of making and of ending, in seconds since 1970.
pub(super) fn encode(
    issuer: &SpiffeId,
    audience: &SpiffeId,
    caller: &Caller,
    txn: &str,
    times: [u64; 2],
) -> Option<Vec<u8>> {
    let texts = |list: &'_ [String]| list.iter().map(|text| Cow::Owned(text.clone())).collect();
    let (sub, scope, req_wl, tctx) = match caller {
        Caller::Gateway => (
            issuer.as_str(),
            SCOPE_KEEP,
            issuer.as_str(),
            Details {
                gateway: true,
                ..Details::default()
            },
        ),
        Caller::Application {
            application,
            user,
            groups,
            scopes,
            view,
        } => (
            user.as_deref().unwrap_or(application),
            SCOPE_CALL,
            application.as_str(),
            Details {
                application: Some(application.into()),
                user: user.as_deref().map(Cow::Borrowed),
                groups: texts(groups),
                scopes: texts(scopes),
                view: Some(view.into()),
                gateway: false,
            },
        ),
    };
    let claims = Claims {
        iss: issuer.as_str().into(),
        aud: audience.as_str().into(),
        iat: times[0],
        exp: times[1],
        txn: txn.into(),
        sub: sub.into(),
        scope: scope.into(),
        req_wl: req_wl.into(),
        tctx,
    };
    serde_json::to_vec(&claims).ok()
}

/// Reads claims whose signature has been checked; `None` when they are not all there, or contradict each other.
pub(super) fn decode(json: &[u8]) -> Option<ContextClaims> {
    let claims: Claims<'_> = serde_json::from_slice(json).ok()?;
    let caller = caller(&claims)?;
    Some(ContextClaims {
        issuer: claims.iss.parse().ok()?,
        audience: claims.aud.parse().ok()?,
        caller,
        txn: claims.txn.into_owned(),
        issued_at: time(claims.iat)?,
        expires_at: time(claims.exp)?,
    })
}

fn caller(claims: &Claims<'_>) -> Option<Caller> {
    let Details {
        application,
        user,
        groups,
        scopes,
        view,
        gateway,
    } = &claims.tctx;
    if groups.len() > CONTEXT_LIST_MAX || scopes.len() > CONTEXT_LIST_MAX {
        return None;
    }
    if *gateway {
        let alone = application.is_none() && user.is_none() && view.is_none();
        let sound = alone && groups.is_empty() && scopes.is_empty() && claims.scope == SCOPE_KEEP;
        return sound.then_some(Caller::Gateway);
    }
    let application = application.as_deref().filter(|name| !name.is_empty())?;
    let view = view.as_deref().filter(|name| !name.is_empty())?;
    let subject = user.as_deref().unwrap_or(application);
    if claims.scope != SCOPE_CALL || claims.sub != subject || claims.req_wl != application {
        return None;
    }
    let texts = |list: &[Cow<'_, str>]| list.iter().map(|text| text.as_ref().to_owned()).collect();
    Some(Caller::Application {
        application: application.to_owned(),
        user: user.as_deref().map(str::to_owned),
        groups: texts(groups),
        scopes: texts(scopes),
        view: view.to_owned(),
    })
}

fn time(unix_s: u64) -> Option<SystemTime> {
    // Beyond the year 9999 a time is a mistake, and adding to it could overflow.
    let sane = unix_s < 253_402_300_800;
    sane.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(unix_s))
}
