//! Notifications on their way to a legacy client.
//!
//! Legacy has the same notifications without the tag of a subscription. One thing needs memory: a call that takes
//! several rounds reports progress anew in each, while the client holds one token for the whole call and may rely on
//! the numbers growing. [`Progress`] keeps them growing.

use meshgate_mcp::{Kind, Message, Method, Splice, meta};

use super::answer::remove_meta;

/// A notification as a legacy client may get it; `None` when legacy has no such thing.
pub fn lower_notice(src: &[u8], msg: &Message) -> Option<Vec<u8>> {
    let method = msg
        .method
        .and_then(|m| m.str(src))
        .map_or(Method::Other, |m| Method::parse(&m));
    match method {
        Method::SubscriptionAck | Method::TaskStatus | Method::Cancelled => return None,
        Method::Other if is_modern_only(src, msg) => return None,
        _ => {}
    }
    let mut splice = Splice::new(src);
    if let Some(body) = &msg.body {
        remove_meta(src, msg, body, &[meta::SUBSCRIPTION_ID], &mut splice);
    }
    Some(splice.finish())
}

fn is_modern_only(src: &[u8], msg: &Message) -> bool {
    msg.method
        .and_then(|m| m.str(src))
        .is_some_and(|m| m == "notifications/tasks")
}

/// Keeps the progress of one call growing over its rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    last: Option<f64>,
    base: f64,
}

impl Progress {
    /// The next round begins: its numbers continue where the last one stopped.
    pub fn next_round(&mut self) {
        self.base = self.last.unwrap_or(0.0);
    }

    /// A progress notification with its numbers moved; `None` when it would not grow and is dropped.
    pub fn renumber(&mut self, src: &[u8], msg: &Message) -> Option<Vec<u8>> {
        let body = msg.body.as_ref()?;
        let number = |name: &str| {
            let value = body.get(src, name).filter(|v| v.kind == Kind::Number)?;
            let parsed = std::str::from_utf8(value.raw(src)).ok()?.parse::<f64>().ok()?;
            parsed.is_finite().then_some((value.span, parsed))
        };
        let (span, progress) = number("progress")?;
        let moved = progress + self.base;
        if self.last.is_some_and(|last| moved <= last) || !moved.is_finite() {
            return None;
        }
        self.last = Some(moved);
        let mut splice = Splice::new(src);
        if self.base > 0.0 {
            splice.replace(span, moved.to_string().into_bytes());
            if let Some((span, total)) = number("total") {
                let total = (total + self.base).min(f64::MAX);
                splice.replace(span, total.to_string().into_bytes());
            }
        }
        Some(splice.finish())
    }
}
