//! The caller context: what a gateway says to a sidecar about the caller of a call.
//!
//! The sidecar decides again by itself, so it must know who calls and must not have to believe whoever happens to reach its
//! port. The token is bound three times: it is signed by the key of the very certificate that made the connection it travels
//! on (so that nobody else can present it, whatever they read), it names the one server and version it is for, and it lives
//! for a minute at most. Within those bounds it may be used again, for as many calls of that caller as there are.
//!
//! The form is that of a transaction token (draft-ietf-oauth-transaction-tokens-08 §5): a JWS in compact form in the header
//! field `Txn-Token`, typed `txntoken+jwt`. Two things are narrower than the draft: `aud` is the SPIFFE ID of one server and
//! version instead of the trust domain, and there is no key to look up, since the connection has shown it. So the JOSE
//! header is one constant text: no algorithm can be chosen, no key named or embedded, no extension demanded, by anybody.

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshgate_model::{Part, SpiffeId};

use crate::leaf::Peer;
use crate::limits::{CONTEXT_CHARS_MAX, CONTEXT_LIFE_MAX, CONTEXT_LIST_MAX, CONTEXT_SKEW};
use crate::svid::Svid;

#[cfg(test)]
mod tests;
mod wire;

/// The header field that carries it.
pub const HEADER: &str = "txn-token";

/// `{"typ":"txntoken+jwt","alg":"ES256"}` in base64url: how every context begins.
const JOSE_HEADER: &str = "eyJ0eXAiOiJ0eG50b2tlbitqd3QiLCJhbGciOiJFUzI1NiJ9";

/// Who calls, as the gateway proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An application, for a user or for itself.
    Application {
        /// The application.
        application: String,
        /// The user it acts for.
        user: Option<String>,
        /// The groups of the user.
        groups: Vec<String>,
        /// What the token of the application was good for.
        scopes: Vec<String>,
        /// The view it called through.
        view: String,
    },
    /// The gateway for itself: lists, discovery, listening.
    Gateway,
}

/// What a context says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextClaims {
    /// The gateway that says it.
    pub issuer: SpiffeId,
    /// The server and version it is said to.
    pub audience: SpiffeId,
    /// Who calls.
    pub caller: Caller,
    /// A number of this context for records, made by the gateway.
    pub txn: String,
    /// When it was made, to the second.
    pub issued_at: SystemTime,
    /// When it ends, to the second.
    pub expires_at: SystemTime,
}

/// A context that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Only gateways say who calls.
    #[error("`{0}` is not a gateway and issues no caller contexts")]
    NotGateway(String),
    /// It would live too long, or its times are no times.
    #[error("a caller context lives for at most 60 s from when it is made")]
    Life,
    /// It would be too long.
    #[error(
        "a caller context of {0} bytes is over the limit of {CONTEXT_CHARS_MAX}; the caller has too many groups or scopes"
    )]
    TooLong(usize),
    /// Too many groups or scopes.
    #[error("{0} groups or scopes are over the limit of {CONTEXT_LIST_MAX} of a caller context")]
    TooMany(usize),
    /// The cipher failed.
    #[error("the cipher failed")]
    Unavailable,
}

/// Why a context is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// No context.
    #[error("the caller context is missing")]
    Missing,
    /// It is longer than [`CONTEXT_CHARS_MAX`].
    #[error("the caller context is over the limit of {CONTEXT_CHARS_MAX} bytes")]
    TooLong,
    /// It has not the form of one, or claims are missing or of a wrong type.
    #[error("the caller context is malformed")]
    Malformed,
    /// Not signed by the key of the connection.
    #[error("the caller context is not signed by the key of the connection it came on")]
    Signature,
    /// It says to be from somebody else than the peer, or from somebody who is no gateway.
    #[error("the caller context is not from the gateway at the other end of the connection")]
    Issuer,
    /// It is for another server or version.
    #[error("the caller context is for another server or version")]
    Audience,
    /// It is over.
    #[error("the caller context has expired; check the clocks of gateway and sidecar, they may differ by 30 s")]
    Expired,
    /// It was made in the future.
    #[error("the caller context is from the future; check the clocks of gateway and sidecar, they may differ by 30 s")]
    Early,
    /// It lives longer than one may.
    #[error("the caller context lives longer than 60 s")]
    Life,
}

/// Writes a context with the key of `svid`, which must be the SVID that made the connection it will travel on.
///
/// # Errors
/// When the SVID is no gateway's, when the context would live over [`CONTEXT_LIFE_MAX`], or is too large.
pub fn sign(
    svid: &Svid,
    audience: &SpiffeId,
    caller: &Caller,
    txn: &str,
    now: SystemTime,
    life: Duration,
) -> Result<String, SignError> {
    if !matches!(svid.id().part(), Part::Gateway(_)) {
        return Err(SignError::NotGateway(svid.id().to_string()));
    }
    if life > CONTEXT_LIFE_MAX || life < Duration::from_secs(1) {
        return Err(SignError::Life);
    }
    if let Caller::Application { groups, scopes, .. } = caller {
        let most = groups.len().max(scopes.len());
        if most > CONTEXT_LIST_MAX {
            return Err(SignError::TooMany(most));
        }
    }
    let issued = unix_s(now).ok_or(SignError::Life)?;
    let claims = wire::encode(svid.id(), audience, caller, txn, [issued, issued + life.as_secs()])
        .ok_or(SignError::Unavailable)?;
    let mut token = String::with_capacity(JOSE_HEADER.len() + claims.len() * 4 / 3 + 96);
    token.push_str(JOSE_HEADER);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = svid
        .key()
        .sign_fixed(token.as_bytes())
        .map_err(|_| SignError::Unavailable)?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    if token.len() > CONTEXT_CHARS_MAX {
        return Err(SignError::TooLong(token.len()));
    }
    Ok(token)
}

/// Believes a context or says why not: `peer` is the other end of the connection it came on, `own` is who we are.
///
/// Nothing in it is looked at before its signature holds.
///
/// # Errors
/// When it is not to be believed.
pub fn verify(token: &str, peer: &Peer, own: &SpiffeId, now: SystemTime) -> Result<ContextClaims, ContextError> {
    if token.is_empty() {
        return Err(ContextError::Missing);
    }
    if token.len() > CONTEXT_CHARS_MAX {
        return Err(ContextError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(ContextError::Malformed)?;
    let claims = signed
        .strip_prefix(JOSE_HEADER)
        .and_then(|rest| rest.strip_prefix('.'))
        .ok_or(ContextError::Malformed)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| ContextError::Malformed);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, peer.public_key())
        .verify(signed.as_bytes(), &decode(signature)?)
        .map_err(|_| ContextError::Signature)?;
    let claims = wire::decode(&decode(claims)?).ok_or(ContextError::Malformed)?;
    if claims.issuer != *peer.id() || !matches!(peer.id().part(), Part::Gateway(_)) {
        return Err(ContextError::Issuer);
    }
    if claims.audience != *own {
        return Err(ContextError::Audience);
    }
    in_time(&claims, now)?;
    Ok(claims)
}

/// Whether a context that was believed before is still good at `now`: for the cache of a connection.
///
/// # Errors
/// When it is over, or the clock went back before it.
pub fn in_time(claims: &ContextClaims, now: SystemTime) -> Result<(), ContextError> {
    let life = claims.expires_at.duration_since(claims.issued_at);
    if life.is_err() || life.is_ok_and(|life| life.is_zero() || life > CONTEXT_LIFE_MAX) {
        return Err(ContextError::Life);
    }
    if claims.issued_at > now + CONTEXT_SKEW {
        return Err(ContextError::Early);
    }
    if now >= claims.expires_at + CONTEXT_SKEW {
        return Err(ContextError::Expired);
    }
    Ok(())
}

fn unix_s(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}
