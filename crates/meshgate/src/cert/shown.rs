//! The authority and the certificates, for people.

use meshgate_control::denials::Denied;
use meshgate_control::issuance::{Entry, Issuance, Proof, Verified};
use meshgate_control::shapes::{Certificates, MeshStatus, RotationShape};
use serde::Serialize;

use crate::out;
use crate::status::{ago, table};

/// Digits of a fingerprint that are shown.
const FINGERPRINT_CHARS: usize = 16;
const REASON_CHARS_MAX: usize = 80;

/// Everything that is shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) certificates: Certificates,
    pub(super) denied: Vec<Denied>,
    /// Whether the log of issued certificates holds together.
    pub(super) log: Verified,
    /// The newest entries of it.
    #[serde(skip)]
    pub(super) issued: Vec<Entry>,
    #[serde(flatten)]
    pub(super) status: MeshStatus,
}

/// As tables.
pub(super) fn shown(all: &Shown) -> String {
    let Shown {
        certificates,
        denied,
        log,
        status,
        ..
    } = all;
    let mut lines = authority(certificates);
    lines.push(match &log.wrong {
        None => format!("{} certificate(s) issued; the log holds together", log.entries),
        Some(wrong) => format!("the log of issued certificates does not hold together: {wrong}"),
    });
    let left = |ends_ms: u64| match ends_ms.checked_sub(status.now_ms) {
        Some(0) | None => "expired".to_owned(),
        Some(ms) => ago(ms / 1_000),
    };
    let mut rows = table(&["IDENTITY", "SERIAL", "AGE", "LEFT", "PROVED BY", "FROM", "CONNECTED"]);
    let own = format!("spiffe://{}/control", certificates.trust_domain);
    let proxies = status.proxies.iter().map(|proxy| {
        let connected = if proxy.connected { "yes" } else { "no" };
        (proxy.proxy.identity.as_str(), proxy.certificate_ends_ms, connected)
    });
    for (identity, ends_ms, connected) in
        std::iter::once((own.as_str(), Some(certificates.own_ends_ms), "")).chain(proxies)
    {
        let entry = ends_ms.and_then(|ends_ms| all.issuance(identity, ends_ms));
        let cell = |of: &dyn Fn(&Issuance) -> String| entry.map(of).unwrap_or_default();
        rows.add_row([
            identity.to_owned(),
            cell(&|entry| entry.serial.clone()),
            cell(&|entry| ago(status.now_ms.saturating_sub(entry.at_ms) / 1_000)),
            ends_ms.map(left).unwrap_or_default(),
            cell(&|entry| proof(&entry.by)),
            cell(&|entry| entry.from.clone()),
            connected.to_owned(),
        ]);
    }
    lines.push(String::new());
    lines.push(rows.trim_fmt());
    if !denied.is_empty() {
        let mut rows = table(&["REFUSED", "WHY"]);
        for denied in denied {
            rows.add_row([denied.subject.clone(), out::one_line(&denied.reason, REASON_CHARS_MAX)]);
        }
        lines.push(String::new());
        lines.push(rows.trim_fmt());
    }
    lines.join("\n")
}

impl Shown {
    /// The newest certificate of an identity that ends then.
    fn issuance(&self, identity: &str, ends_ms: u64) -> Option<&Issuance> {
        let is_it = |entry: &&Entry| {
            entry.issuance.identity == identity && entry.issuance.not_after_ms / 1_000 == ends_ms / 1_000
        };
        self.issued.iter().rev().find(is_it).map(|entry| &entry.issuance)
    }
}

fn proof(proof: &Proof) -> String {
    match proof {
        Proof::JoinToken { token } => format!("join token {token}"),
        Proof::Held { .. } => "the one before".to_owned(),
        Proof::Own => String::new(),
    }
}

/// Roots and a change of them.
pub(super) fn authority(certificates: &Certificates) -> Vec<String> {
    let roots = certificates.roots.iter().enumerate().map(|(at, root)| {
        let fingerprint: String = root.sha256.chars().take(FINGERPRINT_CHARS).collect();
        let what = if at == 0 { "signs" } else { "is trusted" };
        format!("root {fingerprint} {what}")
    });
    let mut lines = vec![format!("mesh {}", certificates.trust_domain)];
    lines.extend(roots);
    lines.extend(certificates.rotation.as_ref().map(rotation));
    lines
}

/// How far a change of roots is, and who holds it up.
pub(super) fn rotation(rotation: &RotationShape) -> String {
    let step = match rotation.phase {
        meshgate_control::ca::Phase::Distributing => "the new root is distributed",
        meshgate_control::ca::Phase::Signing => "the new root signs, the old one is still trusted",
    };
    format!("the root is being replaced: {step}; waits for {}", rotation.waits_for)
}
