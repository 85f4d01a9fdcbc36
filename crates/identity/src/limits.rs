//! The limits of this crate, named and in one place.

/// Longest plaintext that is sealed. Upstream request state is the largest thing that travels sealed.
pub const SEALED_PLAIN_BYTES_MAX: usize = 64 * 1024;

/// Longest sealed token that is looked at; longer ones are refused before they are decoded.
pub const SEALED_TOKEN_CHARS_MAX: usize = 96 * 1024;

/// Longest key ring file that is read.
pub const KEY_RING_FILE_BYTES_MAX: u64 = 4 * 1024;

/// Longest certificate chain or private key file that is read.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;
