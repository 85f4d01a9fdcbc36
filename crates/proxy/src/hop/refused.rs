//! A sidecar's refusal, taken over.
//!
//! What a sidecar refuses comes as the JSON-RPC error that its own clients would get, with who refused, why and whether the
//! call ran in our member of `error.data`. It becomes the same refusal again, so that status, record and what the client
//! reads are made here as for any other. That it *is* a sidecar's refusal is never read from the body, which could be the
//! server's: a header field or the type of the event says so, and those a server cannot set.

use std::time::Duration;

use meshgate_mcp::{Envelope, Kind, Object, Rules, Splice, Value, meta, scan};

use crate::refusal::{By, Executed, Reason, Refusal};

/// The longest that a sidecar may ask a caller to stay away.
const RETRY_MAX: Duration = Duration::from_secs(60 * 60);

/// Reads a refusal. What is none, though it is said to be one, is a broken answer.
pub fn taken_over(body: &[u8]) -> Refusal {
    read(body).unwrap_or_else(|| {
        let text = "the sidecar refused the call in a way that cannot be read";
        Refusal {
            by: By::Sidecar,
            ..Refusal::server(Reason::ServerBroken, Executed::Unknown, text)
        }
        .rule("hop/refusal")
    })
}

fn read(body: &[u8]) -> Option<Refusal> {
    let message = scan(body, &Rules::SERVER).ok()?;
    let error = message.body.filter(|_| message.envelope == Envelope::Error)?;
    let data = Object::read(body, error.get(body, "data")?.span)?;
    let said = Object::read(body, data.get(body, meta::VENDOR_REFUSAL)?.span)?;
    let text = |object: &Object, name: &str| Some(object.get(body, name)?.str(body)?.into_owned());
    let by = match text(&said, "by")?.as_str() {
        "server" => By::Server,
        _ => By::Sidecar,
    };
    let executed = match text(&said, "executed")?.as_str() {
        "no" => Executed::No,
        _ => Executed::Unknown,
    };
    let named = text(&said, "reason")?;
    let reason = Reason::ALL.iter().copied().find(|reason| reason.row().2 == named)?;
    let refusal = Refusal {
        by,
        executed,
        data: others(body, &data),
        ..Refusal::new(of_the_caller(reason), text(&error, "message").unwrap_or_default())
    };
    let refusal = match text(&said, "rule") {
        Some(rule) => refusal.rule(rule),
        None => refusal,
    };
    Some(
        match said
            .get(body, "retryAfterMs")
            .and_then(|value| milliseconds(body, value))
        {
            Some(after) => refusal.retry(after),
            None => refusal,
        },
    )
}

/// What a reason between gateway and sidecar is to the client. That the *gateway* was not known or asked for something
/// that is not served is nothing that a client could mend by another token or another path.
fn of_the_caller(reason: Reason) -> Reason {
    match reason {
        Reason::Unauthenticated
        | Reason::Origin
        | Reason::Host
        | Reason::NotFound
        | Reason::MethodNotAllowed
        | Reason::NotAcceptable
        | Reason::UnsupportedMedia
        | Reason::HeadTooLarge => Reason::ServerAway,
        other => other,
    }
}

/// The members of `error.data` beside ours.
fn others(body: &[u8], data: &Object) -> Option<Vec<u8>> {
    let mut splice = Splice::new(body);
    splice.remove_named(data, meta::VENDOR_REFUSAL);
    let length = body.len();
    let whole = splice.finish();
    // Nothing outside of the object has changed, so it ends as far from the end as before.
    let start = data.span.start as usize;
    let end = whole.len().checked_sub(length - data.span.end as usize)?;
    whole.get(start..end).filter(|rest| rest.len() > 2).map(<[u8]>::to_vec)
}

fn milliseconds(body: &[u8], value: &Value) -> Option<Duration> {
    let number = (value.kind == Kind::Number).then(|| value.u64(body)).flatten()?;
    Some(Duration::from_millis(number).min(RETRY_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(data: &str) -> Vec<u8> {
        format!(r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":-32001,"message":"not yours","data":{data}}}}}"#).into()
    }

    #[test]
    fn who_why_whether_it_ran_when_and_by_which_rule_are_kept() {
        let body = error(
            r#"{"supported":["a"],"dev.meshgate/refusal":{"by":"sidecar","reason":"forbidden","executed":"no","rule":"view/tools","retryAfterMs":1500}}"#,
        );
        let refusal = taken_over(&body);
        assert_eq!(
            (refusal.by, refusal.reason, refusal.executed),
            (By::Sidecar, Reason::Forbidden, Executed::No)
        );
        assert_eq!(refusal.retry, Some(Duration::from_millis(1500)));
        assert_eq!(refusal.rule.as_deref(), Some("view/tools"));
        assert_eq!(refusal.message, "not yours");
        assert_eq!(refusal.data.as_deref(), Some(&br#"{"supported":["a"]}"#[..]));
    }

    #[test]
    fn every_reason_but_those_of_the_hop_comes_through_as_it_was() {
        for reason in Reason::ALL {
            let name = reason.row().2;
            let refusal = taken_over(&error(&format!(
                r#"{{"dev.meshgate/refusal":{{"by":"server","reason":"{name}","executed":"unknown"}}}}"#
            )));
            assert_eq!(refusal.reason, of_the_caller(*reason));
            assert_eq!(
                (refusal.by, refusal.executed, refusal.data),
                (By::Server, Executed::Unknown, None)
            );
        }
        assert_eq!(of_the_caller(Reason::Unauthenticated), Reason::ServerAway);
        assert_eq!(of_the_caller(Reason::ParkedCallGone), Reason::ParkedCallGone);
    }

    #[test]
    fn what_cannot_be_read_may_have_run() {
        for body in [
            &b"no json"[..],
            br#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            &error("{}"),
            &error(r#"{"dev.meshgate/refusal":{"by":"sidecar","reason":"no such reason","executed":"no"}}"#),
        ] {
            let refusal = taken_over(body);
            assert_eq!(
                (refusal.reason, refusal.executed),
                (Reason::ServerBroken, Executed::Unknown)
            );
        }
    }
}
