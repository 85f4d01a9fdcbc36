//! Answering a list from a view: whole when it fits one page, else page by page with sealed cursors.

use meshgate_identity::{KeyRing, Purpose};
use meshgate_mcp::json;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::{ListKind, ViewState};
use crate::call::Caller;
use crate::refusal::{Reason, Refusal};

/// How long a cursor is good for, in seconds.
const CURSOR_LIFE_S: u64 = 600;
/// Longest cursor that is looked at, in bytes.
const CURSOR_BYTES_MAX: usize = 256;

/// What a cursor says once it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// Which list.
    pub kind: ListKind,
    /// The list's digest when the cursor was made.
    pub digest: u64,
    /// Items already given.
    pub offset: u32,
    /// Unix seconds after which it is void.
    pub expires: u64,
}

impl ListCursor {
    fn encode(self) -> Vec<u8> {
        let mut plain = vec![self.kind as u8];
        plain.extend_from_slice(&self.digest.to_be_bytes());
        plain.extend_from_slice(&self.offset.to_be_bytes());
        plain.extend_from_slice(&self.expires.to_be_bytes());
        plain
    }

    fn decode(plain: &[u8]) -> Option<Self> {
        let kind = *ListKind::ALL.get(usize::from(*plain.first()?))?;
        let digest = u64::from_be_bytes(plain.get(1..9)?.try_into().ok()?);
        let offset = u32::from_be_bytes(plain.get(9..13)?.try_into().ok()?);
        let expires = u64::from_be_bytes(plain.get(13..21)?.try_into().ok()?);
        (plain.len() == 21).then_some(Self {
            kind,
            digest,
            offset,
            expires,
        })
    }
}

/// What the bytes of a cursor say, written again; for fuzz targets.
#[cfg(feature = "fuzzing")]
pub fn reread_cursor(plain: &[u8]) -> Option<Vec<u8>> {
    ListCursor::decode(plain).map(ListCursor::encode)
}

fn binding(state: &ViewState, caller: &Caller) -> Vec<u8> {
    let mut aad = state.view.name.as_bytes().to_vec();
    aad.push(0);
    aad.extend_from_slice(caller.binding());
    aad
}

/// The result object of a list for a caller, `page_items` at a time. `now` is Unix seconds. Without `keys` its cursors go to
/// a part of the mesh, which seals them for its clients.
pub fn page(
    state: &ViewState,
    kind: ListKind,
    cursor: Option<&str>,
    caller: &Caller,
    keys: Option<&KeyRing>,
    page_items: usize,
    now: u64,
) -> Result<Bytes, Refusal> {
    let list = state.list(kind);
    let offset = match cursor {
        None => {
            if let Some(whole) = &list.whole {
                return Ok(whole.clone());
            }
            0
        }
        Some(token) => open(state, kind, token, caller, keys, now)?.offset as usize,
    };
    let end = (offset + page_items).min(list.items.len());
    let items = list.items.get(offset..end).unwrap_or_default();
    let next = (end < list.items.len()).then(|| ListCursor {
        kind,
        digest: list.digest,
        offset: u32::try_from(end).unwrap_or(u32::MAX),
        expires: now + CURSOR_LIFE_S,
    });
    let next = match next {
        None => None,
        Some(next) => Some(match keys {
            Some(keys) => keys
                .seal(Purpose::Cursor, &binding(state, caller), &next.encode())
                .map_err(|_| Refusal::new(Reason::Internal, "the cursor could not be sealed"))?,
            None => URL_SAFE_NO_PAD.encode(next.encode()),
        }),
    };
    Ok(Bytes::from(result(kind, items, next.as_deref(), &list.tail)))
}

fn open(
    state: &ViewState,
    kind: ListKind,
    token: &str,
    caller: &Caller,
    keys: Option<&KeyRing>,
    now: u64,
) -> Result<ListCursor, Refusal> {
    // One answer for every kind of wrong cursor: which part was wrong is nobody's business.
    let wrong = || {
        Refusal::new(
            Reason::InvalidParams,
            "`cursor` is not valid, or not any more; list again without it",
        )
        .rule("view/cursor")
    };
    if token.len() > CURSOR_BYTES_MAX {
        return Err(wrong());
    }
    let plain = match keys {
        Some(keys) => keys
            .open(Purpose::Cursor, &binding(state, caller), token)
            .map_err(|_| wrong())?,
        None => URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?,
    };
    let cursor = ListCursor::decode(&plain).ok_or_else(wrong)?;
    let current = cursor.kind == kind && cursor.digest == state.list(kind).digest && cursor.expires >= now;
    if current { Ok(cursor) } else { Err(wrong()) }
}

/// A list result from its parts.
pub(super) fn result(kind: ListKind, items: &[Bytes], next: Option<&str>, tail: &[u8]) -> Vec<u8> {
    let bytes: usize = items.iter().map(|i| i.len() + 1).sum();
    let mut out = Vec::with_capacity(bytes + tail.len() + 256);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(kind.member().as_bytes());
    out.extend_from_slice(b"\":[");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
    if let Some(next) = next {
        out.extend_from_slice(b",\"nextCursor\":");
        json::push_quoted(&mut out, next);
    }
    out.extend_from_slice(tail);
    out.push(b'}');
    out
}
