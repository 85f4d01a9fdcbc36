//! The limits of the control plane, named and in one place.

use std::time::Duration;

/// Longest key of a record, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Largest value of a record, in bytes: a document of a mesh file is at most as large as the file.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// Records of the store. Ten thousand documents, as many join tokens and denied identities, and room.
pub const RECORDS_MAX: usize = 100_000;
/// Writes in one commit: every document of the largest mesh file, twice.
pub const COMMIT_WRITES_MAX: usize = 20_001;
/// Changes of the past that the store keeps for those who watch or list an earlier revision.
pub const HISTORY_CHANGES_MAX: usize = 4_096;
/// Bytes that those changes may hold, so that large documents do not multiply.
pub const HISTORY_BYTES_MAX: usize = 64 << 20;
/// Entries of the issuance log; the oldest make room, and the chain starts after them.
pub const ISSUANCES_MAX: u64 = 1_000_000;

/// How long a join token may be used.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(600);
/// The longest life of a join token that may be asked for.
pub const JOIN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The shortest life of a join token that may be asked for.
pub const JOIN_TOKEN_LIFE_MIN: Duration = Duration::from_secs(10);
/// Join tokens that may wait to be used.
pub const JOIN_TOKENS_MAX: usize = 10_000;
/// How long a used join token is remembered, so that a second use is told what happened and not merely refused.
pub const USED_TOKEN_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long after its end a certificate still proves who asks for the next one: a host that slept comes back by itself.
pub const HELD_EXPIRED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How much earlier than now a certificate starts, for clocks that are behind.
pub const BACKDATED: Duration = Duration::from_secs(120);
/// How long a root is valid.
pub const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long an intermediate is valid, unless three leaves are longer.
pub const INTERMEDIATE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Roots in a trust bundle: the one that signs, the one that is distributed, and one that is about to go.
pub const ROOTS_MAX: usize = 3;
/// Largest certificate signing request, in bytes: a P-256 key and what a person may have written around it.
pub const CSR_BYTES_MAX: usize = 8 << 10;
/// Largest certificate chain that somebody may prove themselves with, in bytes.
pub const CHAIN_BYTES_MAX: usize = 16 << 10;
/// Certificates of such a chain.
pub const CHAIN_CERTIFICATES_MAX: usize = 4;
/// Identities and serials that are denied at once: as many as proxies take.
pub const DENIED_MAX: usize = meshgate_sync::limits::DENIALS_MAX;
/// Longest reason of a denial, in bytes.
pub const DENIAL_REASON_BYTES_MAX: usize = meshgate_sync::limits::TEXT_BYTES_MAX;

/// Connections of scrapers and probes; the next one waits.
pub const PROBE_CONNECTIONS_MAX: usize = 32;

/// Failed enrolments of one address within a minute before it has to wait. What they guess at has 256 bits, so this is about
/// noise and work; and behind one address may be many hosts, one of them bad.
pub const ENROL_FAILURES_MAX: u32 = 30;
/// How long such an address has to wait, and how long a failure counts.
pub const ENROL_FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are counted; beyond them the oldest is forgotten.
pub const ENROL_ADDRESSES_MAX: usize = 10_000;
/// Enrolments that run at once; each signs once.
pub const ENROLMENTS_MAX: usize = 32;

/// Largest body of a request to the admin API, in bytes: a mesh file and the JSON around it.
pub const API_BODY_BYTES_MAX: usize = 12 << 20;
/// Longest that `wait` may make a request last.
pub const API_WAIT_MAX: Duration = Duration::from_secs(300);
/// Connections to the admin API.
pub const API_CONNECTIONS_MAX: usize = 256;
/// How long the head of a request may take.
pub const API_HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a whole request may take to arrive.
pub const API_BODY_TIME: Duration = Duration::from_secs(30);
/// Issuances that one page of the log shows.
pub const API_ISSUANCES_PAGE: usize = 1_000;

/// Connections of proxies.
pub const SYNC_CONNECTIONS_MAX: usize = 20_000;
/// Connections at once that have shown no certificate: each wants one, which takes a second.
pub const STRANGERS_MAX: usize = 2_000;
/// Of them, those from one address: behind one may be a rack of hosts that start together.
pub const STRANGERS_OF_ADDRESS_MAX: usize = 128;
/// How long such a connection lives.
pub const STRANGER_TIME: Duration = Duration::from_secs(60);
/// How long a TLS handshake of a proxy may take.
pub const SYNC_HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Reports of one proxy that the control plane keeps: the last one.
pub const PROXIES_MAX: usize = 20_000;
/// How long a proxy that is gone is shown as gone before it is forgotten.
pub const GONE_KEPT: Duration = Duration::from_secs(3600);
/// How long a proxy is awaited that has not said that it goes, from the loss of its stream or from the start of the control
/// plane: its longest wait before it tries again, and the longest that it may then be told to wait.
pub const AWAITED: Duration = Duration::from_secs(60);
const _: () = assert!(
    AWAITED.as_secs() >= meshgate_sync::limits::RETRY_MAX.as_secs() + meshgate_sync::limits::LATER_MAX.as_secs(),
    "one that waits its turn is taken for gone"
);

/// How long a root waits at most for every proxy to have it before an operator is told; it never signs before they have.
pub const ROOT_WAIT_ALARM: Duration = Duration::from_secs(600);
