//! What a client holds for a server between two requests: states of questions, and task ids.
//!
//! Both leave the gateway sealed and bound: a state to its view, caller, method, target and arguments, for ten minutes; a
//! task id to its view and caller. Whatever does not open is answered the same way, and nothing reaches a server.

use std::sync::Arc;

use meshgate_identity::{KeyRing, Purpose};

use super::{Call, Destination};
use crate::call::Caller;
use crate::catalogue::ViewState;
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::Owner;

/// How long a `requestState` of ours is good for, in seconds.
const STATE_LIFE_S: u64 = 600;
/// The longest sealed value that is opened, in bytes.
const SEALED_BYTES_MAX: usize = 256 << 10;
/// The longest state of a server that is sealed, in bytes, so that what is sealed can be opened.
const STATE_BYTES_MAX: usize = 128 << 10;

/// Stands where nobody holds anything; no part of a mesh has this number.
const NOBODY: u64 = 0;

fn scope(view: &ViewState, caller: &Caller) -> Vec<u8> {
    let mut aad = view.view.name.as_bytes().to_vec();
    aad.push(0);
    aad.extend_from_slice(caller.binding());
    aad
}

/// What a state is bound to: view, caller, method, target and arguments.
fn state_binding(view: &ViewState, call: &Call, name: Option<&str>, caller: &Caller) -> Vec<u8> {
    let mut aad = scope(view, caller);
    for part in [call.method_name().as_bytes(), name.unwrap_or("").as_bytes()] {
        aad.push(0);
        aad.extend_from_slice(part);
    }
    aad.push(0);
    if let Some(arguments) = call.param("arguments") {
        aad.extend_from_slice(arguments.raw(&call.body));
    }
    aad
}

pub(super) fn open_state(
    view: &ViewState,
    call: &Call,
    destination: &Destination,
    caller: &Caller,
    keys: &KeyRing,
    now: u64,
) -> Result<Option<Later>, Refusal> {
    let wrong = || {
        Refusal::new(
            Reason::InvalidParams,
            "`requestState` is not valid for this call, or not any more; call again without it",
        )
        .rule("view/request-state")
        .data(b"{\"reason\":\"invalid_request_state\"}".to_vec())
    };
    let Some(state) = call.param("requestState") else {
        // Every question of ours comes with a state, so answers without one belong to no question.
        return if call.param("inputResponses").is_some() {
            Err(wrong())
        } else {
            Ok(None)
        };
    };
    let token = state
        .str(&call.body)
        .filter(|t| t.len() <= SEALED_BYTES_MAX)
        .ok_or_else(wrong)?;
    let aad = state_binding(view, call, destination.name.as_deref(), caller);
    let plain = keys.open(Purpose::RequestState, &aad, &token).map_err(|_| wrong())?;
    let claims = StateClaims::decode(&plain).ok_or_else(wrong)?;
    let server = view.servers.get(destination.server).ok_or_else(wrong)?;
    if claims.expires < now || claims.server != *server.server.name {
        return Err(wrong());
    }
    Ok(Some(Later {
        inner: claims.inner,
        owner: claims.owner,
        round: claims.round.saturating_add(1),
    }))
}

/// What the state of a later round says.
pub(super) struct Later {
    /// The state as the server gave it.
    pub(super) inner: Option<String>,
    /// Who holds what it goes on with.
    pub(super) owner: Owner,
    /// The round that begins, from 2.
    pub(super) round: u8,
}

struct StateClaims {
    expires: u64,
    /// The round that ended with the question.
    round: u8,
    server: String,
    /// Who holds what the question came from.
    owner: Owner,
    inner: Option<String>,
}

impl StateClaims {
    fn encode(&self) -> Vec<u8> {
        let mut plain = self.expires.to_be_bytes().to_vec();
        plain.push(u8::from(self.inner.is_some()));
        plain.push(self.round);
        plain.push(u8::try_from(self.server.len()).unwrap_or(u8::MAX));
        plain.extend_from_slice(self.server.as_bytes());
        plain.extend_from_slice(&self.owner.unwrap_or(NOBODY).to_be_bytes());
        plain.extend_from_slice(self.inner.as_deref().unwrap_or("").as_bytes());
        plain
    }

    fn decode(plain: &[u8]) -> Option<Self> {
        let expires = u64::from_be_bytes(plain.get(..8)?.try_into().ok()?);
        let given = *plain.get(8)? == 1;
        let round = *plain.get(9)?;
        let end = 11 + usize::from(*plain.get(10)?);
        let server = std::str::from_utf8(plain.get(11..end)?).ok()?.to_owned();
        let (owner, inner) = plain.get(end..)?.split_first_chunk::<8>()?;
        let inner = std::str::from_utf8(inner).ok()?.to_owned();
        Some(Self {
            expires,
            round,
            server,
            owner: owner_of(*owner),
            inner: given.then_some(inner),
        })
    }
}

/// What the bytes of a state say, written again; for fuzz targets.
#[cfg(feature = "fuzzing")]
pub fn reread_state(plain: &[u8]) -> Option<Vec<u8>> {
    StateClaims::decode(plain).map(|claims| claims.encode())
}

fn owner_of(bytes: [u8; 8]) -> Owner {
    Some(u64::from_be_bytes(bytes)).filter(|owner| *owner != NOBODY)
}

/// Seals what a server wants back with the next round, and who holds what waits for it.
pub fn seal_state(
    view: &ViewState,
    call: &Call,
    destination: &Destination,
    caller: &Caller,
    keys: &KeyRing,
    now: u64,
    (inner, owner): (Option<String>, Owner),
) -> Result<String, Refusal> {
    if inner.as_ref().is_some_and(|state| state.len() > STATE_BYTES_MAX) {
        let text = format!("the server's `requestState` is longer than {STATE_BYTES_MAX} bytes");
        return Err(Refusal::server(Reason::ServerBroken, Executed::Unknown, text).rule("limit/request-state"));
    }
    let server = view
        .servers
        .get(destination.server)
        .map(|s| s.server.name.to_string())
        .unwrap_or_default();
    let claims = StateClaims {
        expires: now + STATE_LIFE_S,
        round: destination.round,
        server,
        owner,
        inner,
    };
    let aad = state_binding(view, call, destination.name.as_deref(), caller);
    keys.seal(Purpose::RequestState, &aad, &claims.encode()).map_err(|_| {
        Refusal::server(
            Reason::Internal,
            Executed::Unknown,
            "the request state could not be sealed",
        )
    })
}

/// Seals a task id, so that it says which server has it, and who of those before that server, and is good for its caller
/// only.
pub fn seal_task(
    view: &ViewState,
    (server, owner): (usize, Owner),
    caller: &Caller,
    keys: &KeyRing,
    id: &str,
) -> Option<String> {
    let name = &view.servers.get(server)?.server.name;
    let mut plain = vec![u8::try_from(name.len()).ok()?];
    plain.extend_from_slice(name.as_bytes());
    plain.extend_from_slice(&owner.unwrap_or(NOBODY).to_be_bytes());
    plain.extend_from_slice(id.as_bytes());
    keys.seal(Purpose::TaskId, &scope(view, caller), &plain).ok()
}

pub(super) fn open_task(
    view: &ViewState,
    token: &str,
    caller: &Caller,
    keys: &KeyRing,
) -> Result<(usize, Owner, Arc<str>), Refusal> {
    let wrong = || Refusal::new(Reason::InvalidParams, "unknown task");
    if token.len() > SEALED_BYTES_MAX {
        return Err(wrong());
    }
    let plain = keys
        .open(Purpose::TaskId, &scope(view, caller), token)
        .map_err(|_| wrong())?;
    let end = 1 + usize::from(*plain.first().ok_or_else(wrong)?);
    let name = plain.get(1..end).ok_or_else(wrong)?;
    let (owner, id) = plain
        .get(end..)
        .and_then(|rest| rest.split_first_chunk::<8>())
        .ok_or_else(wrong)?;
    let id = std::str::from_utf8(id).map_err(|_| wrong())?;
    let server = view
        .servers
        .iter()
        .position(|s| s.server.name.as_bytes() == name)
        .ok_or_else(wrong)?;
    Ok((server, owner_of(*owner), Arc::from(id)))
}
