//! Session ids as functions over bytes, for fuzz targets only.

use meshgate_identity::keys::{KeyRing, Purpose};

use super::claims::{Claims, bound_to};
use crate::call::Caller;

/// Whether `id` opens as a session of `caller` at `view`.
pub fn opens(keys: &KeyRing, caller: &Caller, view: &str, id: &str) -> bool {
    Claims::open(keys, caller, view, id).is_some()
}

/// Seals bytes as if they were the content of a session id; then what they say, sealed once more, when they say anything.
pub fn reread(keys: &KeyRing, caller: &Caller, view: &str, plain: &[u8]) -> Option<(String, String)> {
    let id = keys.seal(Purpose::Session, &bound_to(caller, view), plain).ok()?;
    let again = Claims::open(keys, caller, view, &id)?.seal(keys, caller, view)?;
    Some((id, again))
}
