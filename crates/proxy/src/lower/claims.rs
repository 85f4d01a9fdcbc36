//! The session id a legacy client holds: sealed, so that it says nothing, cannot be made up and works for one caller.
//!
//! The caller and the view are not written into it but bound to it as associated data: with another caller's token, or
//! at another view's path, it does not open, and looks exactly like an id that never existed. The home names the process
//! that holds the session's soft state.

use meshgate_bridge::lower::Capabilities;
use meshgate_identity::keys::{KeyRing, Purpose};
use meshgate_mcp::{Era, REVISIONS, Revision};

use crate::call::Caller;

const FORMAT: u8 = 1;

/// What a session id says, opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claims {
    pub(super) revision: &'static Revision,
    pub(super) capabilities: Capabilities,
    pub(super) expires_s: u64,
    pub(super) home: [u8; 8],
    pub(super) nonce: [u8; 16],
}

impl Claims {
    /// The id for `caller` at `view`; `None` when sealing failed.
    pub(super) fn seal(&self, keys: &KeyRing, caller: &Caller, view: &str) -> Option<String> {
        let revision = REVISIONS.iter().position(|r| r.name == self.revision.name)?;
        let mut plain = vec![FORMAT, u8::try_from(revision).ok()?];
        plain.extend_from_slice(&self.capabilities.bits().to_be_bytes());
        plain.extend_from_slice(&self.expires_s.to_be_bytes());
        plain.extend_from_slice(&self.home);
        plain.extend_from_slice(&self.nonce);
        keys.seal(Purpose::Session, &bound_to(caller, view), &plain).ok()
    }

    /// What `id` says, when it was sealed here for this caller and view.
    pub(super) fn open(keys: &KeyRing, caller: &Caller, view: &str, id: &str) -> Option<Self> {
        let plain = keys.open(Purpose::Session, &bound_to(caller, view), id).ok()?;
        let (head, rest) = plain.split_first_chunk::<2>()?;
        let (bits, rest) = rest.split_first_chunk::<2>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (home, rest) = rest.split_first_chunk::<8>()?;
        let [format, revision] = *head;
        let revision = REVISIONS.get(usize::from(revision)).filter(|r| r.era == Era::Legacy)?;
        (format == FORMAT).then_some(())?;
        Some(Self {
            revision,
            capabilities: Capabilities::from_bits(u16::from_be_bytes(*bits)),
            expires_s: u64::from_be_bytes(*expires),
            home: *home,
            nonce: rest.try_into().ok()?,
        })
    }
}

/// Caller and view as associated data; the length keeps the two apart.
pub(super) fn bound_to(caller: &Caller, view: &str) -> Vec<u8> {
    let binding = caller.binding();
    let mut aad = (binding.len() as u64).to_be_bytes().to_vec();
    aad.extend_from_slice(binding);
    aad.extend_from_slice(view.as_bytes());
    aad
}
