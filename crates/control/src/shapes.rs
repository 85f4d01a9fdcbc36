//! What the admin API says and is told, field by field: the program that asks reads the same types.
//!
//! Times are milliseconds since 1970, names of fields are written as in documents, and nothing here is ever a secret but the
//! text of a join token in the one answer that makes it.

use meshgate_model::diff::Change;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alarms::Alarm;
use crate::ca::Phase;
use crate::registry::{Applied, Outcome};

/// A file as somebody wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Its absolute path: relative paths in it start at its directory, and findings name it.
    pub name: String,
    /// Its text: documents in YAML or JSON.
    pub text: String,
}

/// Documents to apply, and on which terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Apply {
    /// The documents.
    pub sources: Vec<Source>,
    /// Whether documents that are not among them go.
    pub replace: bool,
    /// Whether to look only.
    pub dry_run: bool,
    /// Only if the configuration is this revision; otherwise 409.
    pub if_revision: Option<u64>,
    /// Whether much may go.
    pub allow_shrink: bool,
    /// Wait until every connected proxy has answered, at most so many seconds (up to 300).
    pub wait_seconds: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedShape {
    /// In one word.
    pub outcome: Outcome,
    /// The revision of the configuration now.
    pub revision: u64,
    /// Errors and warnings.
    pub findings: Vec<FindingShape>,
    /// What it changes: `kind`, `name`, `how` and `fields` of each object.
    #[schema(value_type = Vec<Object>)]
    pub changes: Vec<Change>,
    /// How far the proxies are, where the answer waited for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressShape>,
}

/// How far proxies are with a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressShape {
    /// How many have it.
    pub taken: usize,
    /// Those that refuse it, each with why.
    pub refused: Vec<RefusedShape>,
    /// Those that have not answered.
    pub waiting: Vec<ProxyName>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyName {
    /// Its SPIFFE ID.
    pub identity: String,
    /// Which start of it, 16 hexadecimal digits.
    pub instance: String,
}

/// One that refuses a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedShape {
    /// Who.
    #[serde(flatten)]
    pub proxy: ProxyName,
    /// Why, and which resource.
    pub message: String,
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingShape {
    /// `error` or `warning`.
    pub severity: String,
    /// Stable code, such as `MG0303`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// The source it is in; `kept/Server/documents` is a document that was applied before.
    pub source: String,
    /// The document, as `Kind/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Where in the source, in bytes: start and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(usize, usize)>,
}

impl From<&meshgate_model::Finding> for FindingShape {
    fn from(finding: &meshgate_model::Finding) -> Self {
        Self {
            severity: finding.severity.to_string(),
            code: finding.code.to_owned(),
            message: finding.message.clone(),
            remedy: finding.remedy.clone(),
            source: finding.source.to_string(),
            document: finding.document.clone(),
            path: finding.path.clone(),
            span: finding.span.as_ref().map(|span| (span.start, span.end)),
        }
    }
}

impl From<&Applied> for AppliedShape {
    fn from(applied: &Applied) -> Self {
        Self {
            outcome: applied.outcome,
            revision: applied.number,
            findings: applied.findings.iter().map(FindingShape::from).collect(),
            changes: applied.changes.clone(),
            progress: None,
        }
    }
}

/// Documents as they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Documents {
    /// The revision of the configuration.
    pub revision: u64,
    /// The documents, by kind and name.
    pub items: Vec<DocumentShape>,
}

/// A document as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentShape {
    /// The revision that changed it last.
    pub revision: u64,
    /// The document, with paths made absolute and defaults left out.
    #[schema(value_type = Object)]
    pub document: serde_json::Value,
}

/// For whom a join token is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinTokenOrder {
    /// `gateway/<name>` or `server/<name>/<version>`.
    pub part: String,
    /// How long it may be used, in seconds: 10 to 86400. Default: 600.
    #[serde(default)]
    pub life_seconds: Option<u64>,
}

/// A join token, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenMade {
    /// The token. It is kept nowhere.
    pub token: String,
    /// Its public name.
    pub name: String,
    /// Whom it is for.
    pub identity: String,
    /// When it ends.
    pub ends_ms: u64,
}

/// Whom to deny.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DenyOrder {
    /// A SPIFFE ID, or the serial number of a certificate.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// The certificates of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// The mesh.
    pub trust_domain: String,
    /// The roots that are trusted, the one that signs first.
    pub roots: Vec<RootShape>,
    /// The change of roots that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationShape>,
    /// When the control plane's own certificate ends.
    pub own_ends_ms: u64,
    /// Its serial number.
    pub own_serial: String,
}

/// A root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootShape {
    /// SHA-256 of the certificate, hexadecimal.
    pub sha256: String,
    /// The certificate, PEM.
    pub pem: String,
}

/// A change of roots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationShape {
    /// The step.
    pub phase: Phase,
    /// Since when.
    pub since_ms: u64,
    /// SHA-256 of the new root, hexadecimal.
    pub to: String,
    /// What it waits for.
    pub waits_for: String,
}

/// How the mesh is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshStatus {
    /// The mesh.
    pub trust_domain: String,
    /// The revision of the configuration; 0 before the first.
    pub revision: u64,
    /// When it was changed last.
    pub changed_ms: u64,
    /// How often the store was set back, from 1.
    pub epoch: u64,
    /// Whether every proxy had the time to come back since the control plane started.
    pub settled: bool,
    /// The proxies that are connected, and those that were within the last hour.
    pub proxies: Vec<ProxyShape>,
    /// A new key of the gateways is on its way.
    pub key_ring_rotates: bool,
    /// The change of roots that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationShape>,
    /// What an operator has to know.
    pub alarms: Vec<Alarm>,
    /// The time of the control plane, to see clocks that differ.
    pub now_ms: u64,
}

/// How a proxy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyShape {
    /// Who.
    #[serde(flatten)]
    pub proxy: ProxyName,
    /// Whether it is connected.
    pub connected: bool,
    /// For how many seconds it is connected, or gone.
    pub seconds: u64,
    /// Where its mesh port is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The version of its program.
    pub program: String,
    /// The revision that it has.
    pub revision: u64,
    /// The epoch of that revision.
    pub epoch: u64,
    /// Whether it has all that is for it.
    pub current: bool,
    /// Why it refuses what is for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses: Option<String>,
    /// `starting`, `up` or `away`; absent before its first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why it is not up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The era of its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<String>,
    /// SHA-256 of its catalogue, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<String>,
    /// How many tools its server has.
    #[serde(default)]
    pub tools: u32,
    /// Calls that run.
    #[serde(default)]
    pub in_flight: u32,
    /// It takes no new calls.
    #[serde(default)]
    pub draining: bool,
    /// When its certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends_ms: Option<u64>,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What is wrong, and what to do.
    pub message: String,
}

/// How often the store was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EpochShape {
    /// From 1.
    pub epoch: u64,
}
