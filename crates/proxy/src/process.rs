//! What processes of proxies have in common: what was typed, the log, the certificates of listeners.

mod certificates;
pub mod log;
mod typed;

pub use self::certificates::Certificates;
pub use self::typed::{GatewayArgs, MemberArgs, SidecarArgs, TypedError, TypedServer};
