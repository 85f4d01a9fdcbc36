//! `meshgate cert`: what the parts of a mesh prove themselves with, and who may not.

mod shown;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use meshgate_control::denials::Denied;
use meshgate_control::issuance::Verified;
use meshgate_control::shapes::{Certificates, DenyOrder, EpochShape};
use serde::Serialize;
use serde_json::json as object;
use tokio::time::{Instant, sleep};

use self::shown::Shown;
use crate::api::Api;
use crate::apply::body;
use crate::cli::{AskArgs, CertCommand, CertDenyArgs, CertRotateRootArgs, Output};
use crate::client::{block_on, encoded};
use crate::exit::{FAILED, Failure};
use crate::out;
use crate::status::json;

/// Entries of the log that one page of the API has.
const ISSUANCES_PAGE: u64 = 1_000;
/// How often a rotation of the root is looked at while somebody waits for it.
const LOOK: Duration = Duration::from_millis(500);

/// Does what was typed.
pub(crate) fn run(command: &CertCommand, state: Option<&Path>) -> Result<ExitCode, Failure> {
    match command {
        CertCommand::Show(args) => show(args, state),
        CertCommand::Rotate(args) => {
            let api = Api::find(&args.control, state)?;
            let now: Certificates = block_on(api.tell("/v1/certificates/rotate", Bytes::new()))?;
            said(
                args.output,
                &now,
                "a new intermediate signs, and every connected part renews its certificate soon",
            )
        }
        CertCommand::RotateRoot(args) => rotate_root(args, state),
        CertCommand::RotateKeyRing(args) => {
            let api = Api::find(&args.control, state)?;
            block_on(api.order(Method::POST, "/v1/key-ring/rotate"))?;
            let words = "a new key of the gateways is distributed, and seals when all have it; the old one still opens";
            said(args.output, &object!({"rotates": true}), words)
        }
        CertCommand::Deny(args) => deny(args, state),
        CertCommand::Allow(args) => {
            let subject = subject(&args.subject)?;
            let api = Api::find(&args.ask.control, state)?;
            let path = format!("/v1/denials?subject={}", encoded(&subject));
            block_on(api.order(Method::DELETE, &path))?;
            let words = format!("`{subject}` may come in again");
            said(args.ask.output, &object!({"allowed": subject}), &words)
        }
    }
}

/// `meshgate accept-restore`: the state of the control plane was put back from a backup.
pub(crate) fn accept_restore(args: &AskArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let api = Api::find(&args.control, state)?;
    let epoch: EpochShape = block_on(api.tell("/v1/epoch/advance", Bytes::new()))?;
    let words = format!(
        "epoch {}: the parts follow again; apply what was applied since the backup",
        epoch.epoch
    );
    said(args.output, &epoch, &words)
}

fn show(args: &AskArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let api = Api::find(&args.control, state)?;
    let all = block_on(async {
        let log: Verified = api.get("/v1/issuances/verify").await?;
        // The page that the certificates in use are on, unless more than a thousand parts renew at once.
        let from = (log.first + log.entries).saturating_sub(ISSUANCES_PAGE);
        Ok(Shown {
            certificates: api.get("/v1/certificates").await?,
            denied: api.get("/v1/denials").await?,
            issued: api.get(&format!("/v1/issuances?from={from}")).await?,
            status: api.get("/v1/status").await?,
            log,
        })
    })?;
    match args.output {
        Output::Json => out::print(&json(&all)?),
        Output::Text => out::print(&shown::shown(&all)),
    }
    Ok(ExitCode::SUCCESS)
}

fn rotate_root(args: &CertRotateRootArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let api = Api::find(&args.ask.control, state)?;
    let path = if args.force {
        "/v1/certificates/force-rotation"
    } else {
        "/v1/certificates/rotate-root"
    };
    let mut certificates: Certificates = block_on(api.tell(path, Bytes::new()))?;
    if args.wait {
        certificates = block_on(retired(&api, certificates, args.timeout))?;
    }
    match args.ask.output {
        Output::Json => out::print(&json(&certificates)?),
        Output::Text => out::print(&shown::authority(&certificates).join("\n")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until no rotation is under way, and says each step and who holds it up.
async fn retired(api: &Api, mut certificates: Certificates, time_max: Duration) -> Result<Certificates, Failure> {
    let until = Instant::now() + time_max;
    let mut told = String::new();
    while let Some(rotation) = &certificates.rotation {
        let now = shown::rotation(rotation);
        if now != told {
            out::note(&now);
            told = now;
        }
        if Instant::now() >= until {
            return Err(Failure::new(FAILED, format!("the rotation is not over yet: {told}"))
                .remedy("it goes on by itself; `meshgate cert show` says how far it is"));
        }
        sleep(LOOK).await;
        certificates = api.get("/v1/certificates").await?;
    }
    Ok(certificates)
}

fn deny(args: &CertDenyArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let subject = subject(&args.subject)?;
    let api = Api::find(&args.ask.control, state)?;
    let wanted = DenyOrder {
        subject: subject.clone(),
        reason: args.reason.clone(),
    };
    let denied: Denied = block_on(api.tell("/v1/denials", body(&wanted)?))?;
    let words = format!("`{subject}` is refused; its connections are cut within seconds");
    said(args.ask.output, &denied, &words)
}

/// The answer for programs, or what it means for people.
fn said(output: Output, answer: &impl Serialize, words: &str) -> Result<ExitCode, Failure> {
    match output {
        Output::Json => out::print(&json(answer)?),
        Output::Text => out::print(words),
    }
    Ok(ExitCode::SUCCESS)
}

/// What may be denied: a SPIFFE ID, or the serial number of a certificate.
fn subject(typed: &str) -> Result<String, Failure> {
    let is_serial = !typed.is_empty() && typed.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    if is_serial {
        return Ok(typed.replace(':', "").to_ascii_lowercase());
    }
    match typed.parse::<meshgate_model::SpiffeId>() {
        Ok(id) => Ok(id.to_string()),
        Err(error) => Err(Failure::new(
            FAILED,
            format!(
                "`{}` is neither an identity nor a serial number: {error}",
                out::one_line(typed, 200)
            ),
        )
        .remedy("`meshgate cert show` prints both")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_identity_or_a_serial_number_may_be_denied_and_nothing_else() {
        assert_eq!(subject("0A:ff:01").unwrap(), "0aff01");
        let id = "spiffe://company.mesh/server/documents/v1";
        assert_eq!(subject(id).unwrap(), id);
        for wrong in [
            "",
            "documents",
            "spiffe://company.mesh/server/documents/v1/",
            "https://a/b",
        ] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_identity_is_one_segment_of_a_path() {
        assert_eq!(encoded("spiffe://m/gateway/a"), "spiffe%3A%2F%2Fm%2Fgateway%2Fa");
    }
}
