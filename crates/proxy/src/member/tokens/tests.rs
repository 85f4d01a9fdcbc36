#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn reading(text: &[u8]) -> Result<Option<String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, text).unwrap();
    read("app", &TokenSource::File(path))
        .map(|token| token.map(|token| token.to_string()))
        .map_err(|error| error.to_string())
}

#[test]
fn the_first_line_of_a_file_is_the_token() {
    assert_eq!(
        reading(b"0123456789abcdefghijKL\n# made in May\n").unwrap().unwrap(),
        "0123456789abcdefghijKL"
    );
    assert_eq!(
        reading(b"0123456789abcdefghijKL\r\n").unwrap().unwrap(),
        "0123456789abcdefghijKL"
    );
}

#[test]
fn a160_a_token_that_is_missing_short_or_unsendable_proves_nobody() {
    for (text, why) in [
        (&b""[..], "too short"),
        (b"\n0123456789abcdefghijKL", "too short"),
        (b"0123456789", "too short"),
        (b"0123456789 abcdefghijKL", "characters"),
        ("0123456789abcdefghijKLé".as_bytes(), "characters"),
        (&[b'a'; 4097], "too long"),
        (b"\xff\xff0123456789abcdefghijKL", "UTF-8"),
    ] {
        let refused = reading(text).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    assert!(read("app", &TokenSource::Environment("MESHGATE_NO_SUCH_VARIABLE".into())).is_err());
    assert!(read("app", &TokenSource::File("/no/such/file".into())).is_err());
}

#[test]
fn d36_a_refused_token_is_not_shown() {
    let refused = reading(b"CANARY CANARY CANARY CANARY").unwrap_err();
    assert!(!refused.contains("CANARY"), "{refused}");
}

#[test]
fn a_digest_in_the_configuration_needs_no_reading() {
    assert!(read("app", &TokenSource::Sha256([1; 32])).unwrap().is_none());
}
