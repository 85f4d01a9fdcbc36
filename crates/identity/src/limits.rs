//! The limits of this crate, named and in one place.

use std::time::Duration;

/// Longest plaintext that is sealed. Upstream request state is the largest thing that travels sealed.
pub const SEALED_PLAIN_BYTES_MAX: usize = 64 * 1024;

/// Longest sealed token that is looked at; longer ones are refused before they are decoded.
pub const SEALED_TOKEN_CHARS_MAX: usize = 96 * 1024;

/// Longest key ring file that is read.
pub const KEY_RING_FILE_BYTES_MAX: u64 = 4 * 1024;

/// Longest certificate chain or private key file that is read.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most certificates a peer may show beside its own. A chain of the mesh has one intermediate and, at enrolment, the roots;
/// each one more is work before anybody has proved anything.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;

/// Largest certificate that is looked at, in bytes. One of the mesh has less than 1 KiB.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Most roots of a trust bundle. A rotation needs two at a time; a botched one must not grow without end.
pub const BUNDLE_ROOTS_MAX: usize = 8;

/// Most keys that may sign snapshots at the same time.
pub const BUNDLE_SNAPSHOT_KEYS_MAX: usize = 8;

/// Most entries of the list of denied identities. Certificates die within days, so a longer list means another remedy.
pub const DENIED_ENTRIES_MAX: usize = 10_000;

/// Largest file with a SVID or a bundle that is read, in bytes.
pub const IDENTITY_FILE_BYTES_MAX: u64 = 256 * 1024;

/// How far the beginning of a certificate lies before its making, so that a peer whose clock is behind takes it.
pub const CERTIFICATE_BACKDATED: Duration = Duration::from_secs(120);

/// The age at which a connection of the mesh ends in peace, before its share of jitter. What a certificate or a grant said
/// when a connection was made is true for this long at most.
pub const CONNECTION_AGE: Duration = Duration::from_secs(3600);

/// How far the age of a connection is moved up or down, so that those made together do not end together, in per cent.
pub const CONNECTION_AGE_JITTER_PERCENT: u32 = 10;

/// The longest look-away of a rotation: due times are read off the wall clock this often, because timers stand still while
/// a host sleeps.
pub const ROTATION_LOOK_EVERY: Duration = Duration::from_secs(10);

/// The pause after the first failed rotation; it doubles up to [`ROTATION_RETRY_MAX`].
pub const ROTATION_RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest pause between attempts to rotate.
pub const ROTATION_RETRY_MAX: Duration = Duration::from_secs(60);

/// How far the moment of a rotation is moved up or down, in per cent of the third of life it stands at.
pub const ROTATION_JITTER_PERCENT: u32 = 10;

/// How long after its end a SVID whose key is still held may be renewed: a host that slept comes back by itself.
pub const HELD_RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longest life of a caller context.
pub const CONTEXT_LIFE_MAX: Duration = Duration::from_secs(60);

/// How far the clocks of a gateway and a sidecar may be apart for a caller context.
pub const CONTEXT_SKEW: Duration = Duration::from_secs(30);

/// Longest caller context that is written or looked at, in bytes of its text.
pub const CONTEXT_CHARS_MAX: usize = 8 * 1024;

/// Most groups, and most scopes, that a caller context carries.
pub const CONTEXT_LIST_MAX: usize = 256;
