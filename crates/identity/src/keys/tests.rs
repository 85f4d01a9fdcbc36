#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt;

use super::*;

fn ring(seed: u8) -> KeyRing {
    KeyRing::generate(&mut |bytes| bytes.fill(seed))
}

fn reseal(token: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    change(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn what_was_sealed_opens_again_byte_for_byte() {
    let ring = ring(1);
    for plain in [
        &b""[..],
        b"x",
        b"{\"page\":2}",
        &[0u8; 4096],
        &[7u8; SEALED_PLAIN_BYTES_MAX],
    ] {
        for purpose in Purpose::ALL {
            let token = ring.seal(purpose, b"application/corpassist", plain).unwrap();
            assert_eq!(ring.open(purpose, b"application/corpassist", &token).unwrap(), plain);
        }
    }
}

#[test]
fn the_same_state_never_seals_to_the_same_token() {
    let ring = ring(1);
    let tokens: std::collections::HashSet<_> = (0..256)
        .map(|_| ring.seal(Purpose::Cursor, b"", b"same").unwrap())
        .collect();
    assert_eq!(tokens.len(), 256);
}

#[test]
fn a_sealed_token_is_url_safe_and_shows_nothing_of_its_content() {
    let token = ring(1)
        .seal(Purpose::Session, b"caller", b"CANARY-CANARY-CANARY")
        .unwrap();
    assert!(
        token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    );
    let raw = URL_SAFE_NO_PAD.decode(&token).unwrap();
    assert!(!raw.windows(6).any(|w| w == b"CANARY"));
}

#[test]
fn d17_d18_each_flipped_bit_is_refused() {
    let ring = ring(1);
    let token = ring.seal(Purpose::RequestState, b"caller", b"round=1").unwrap();
    let bits = URL_SAFE_NO_PAD.decode(&token).unwrap().len() * 8;
    for bit in 0..bits {
        let bent = reseal(&token, |b| b[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(
            ring.open(Purpose::RequestState, b"caller", &bent),
            Err(OpenError),
            "bit {bit}"
        );
    }
}

#[test]
fn d17_d18_each_changed_character_is_refused_also_in_the_last_partial_byte() {
    let ring = ring(1);
    for plain in [&b"a"[..], b"ab", b"abc"] {
        let token = ring.seal(Purpose::Cursor, b"", plain).unwrap();
        for at in 0..token.len() {
            for other in [b'A', b'B', b'_', b'-', b'=', b'+', b' ', b'\n'] {
                let mut bent = token.clone().into_bytes();
                if bent[at] == other {
                    continue;
                }
                bent[at] = other;
                let bent = String::from_utf8(bent).unwrap();
                assert_eq!(
                    ring.open(Purpose::Cursor, b"", &bent),
                    Err(OpenError),
                    "character {at} as {other}"
                );
            }
        }
    }
}

#[test]
fn d17_d18_truncation_and_extension_are_refused() {
    let ring = ring(1);
    let token = ring.seal(Purpose::Cursor, b"caller", b"page=3").unwrap();
    for len in 0..token.len() {
        assert_eq!(
            ring.open(Purpose::Cursor, b"caller", &token[..len]),
            Err(OpenError),
            "length {len}"
        );
    }
    for tail in ["A", "AA", "AAAA", "=", "\0", " "] {
        assert_eq!(
            ring.open(Purpose::Cursor, b"caller", &format!("{token}{tail}")),
            Err(OpenError)
        );
    }
    assert_eq!(
        ring.open(Purpose::Cursor, b"caller", &format!("{token}{token}")),
        Err(OpenError)
    );
}

#[test]
fn d17_another_purpose_is_refused() {
    let ring = ring(1);
    for sealed in Purpose::ALL {
        let token = ring.seal(sealed, b"caller", b"state").unwrap();
        for opened in Purpose::ALL {
            assert_eq!(
                ring.open(opened, b"caller", &token).is_ok(),
                sealed == opened,
                "{sealed:?} as {opened:?}"
            );
        }
    }
}

#[test]
fn d17_another_callers_token_is_refused() {
    let ring = ring(1);
    let token = ring.seal(Purpose::RequestState, b"application/a", b"state").unwrap();
    for other in [
        &b"application/b"[..],
        b"application/",
        b"application/a ",
        b"",
        b"\0anonymous",
    ] {
        assert_eq!(ring.open(Purpose::RequestState, other, &token), Err(OpenError));
    }
}

#[test]
fn d17_a_token_of_another_ring_is_refused() {
    let token = ring(1).seal(Purpose::Session, b"", b"state").unwrap();
    assert_eq!(ring(2).open(Purpose::Session, b"", &token), Err(OpenError));
}

#[test]
fn d17_after_rotation_the_previous_key_opens_and_the_one_before_does_not() {
    let first = ring(1);
    let old = first.seal(Purpose::Session, b"", b"old").unwrap();
    let second = first.rotate(&mut |b| b.fill(2));
    let newer = second.seal(Purpose::Session, b"", b"newer").unwrap();
    assert_eq!(second.open(Purpose::Session, b"", &old).unwrap(), b"old");
    let third = second.rotate(&mut |b| b.fill(3));
    assert_eq!(third.open(Purpose::Session, b"", &newer).unwrap(), b"newer");
    assert_eq!(third.open(Purpose::Session, b"", &old), Err(OpenError));
}

#[test]
fn d18_noise_is_refused_with_the_one_error() {
    let ring = ring(1);
    let long = "A".repeat(SEALED_TOKEN_CHARS_MAX + 4);
    for noise in ["", "A", "AQ", "not a token", "\u{2028}", "🦀", long.as_str()] {
        assert_eq!(
            ring.open(Purpose::Cursor, b"", noise).unwrap_err().to_string(),
            "the token is not valid here"
        );
    }
}

#[test]
fn state_over_the_limit_is_not_sealed() {
    let plain = vec![0; SEALED_PLAIN_BYTES_MAX + 1];
    assert_eq!(
        ring(1).seal(Purpose::Cursor, b"", &plain),
        Err(SealError::TooLong(SEALED_PLAIN_BYTES_MAX + 1))
    );
}

#[test]
fn a_ring_is_made_once_private_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key-ring");
    let token = KeyRing::load_or_create(&path)
        .unwrap()
        .seal(Purpose::Cursor, b"", b"x")
        .unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        KeyRing::load_or_create(&path)
            .unwrap()
            .open(Purpose::Cursor, b"", &token)
            .unwrap(),
        b"x"
    );
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no staged file is left"
    );
}

#[test]
fn a_saved_rotation_keeps_both_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key-ring");
    let first = ring(1);
    let old = first.seal(Purpose::Cursor, b"", b"x").unwrap();
    first.rotate(&mut |b| b.fill(2)).save(&path).unwrap();
    assert_eq!(
        KeyRing::load(&path).unwrap().open(Purpose::Cursor, b"", &old).unwrap(),
        b"x"
    );
}

#[test]
fn a_ring_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key-ring");
    ring(1).save(&path).unwrap();
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyRing::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn a_damaged_ring_is_refused_and_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key-ring");
    ring(1).save(&path).unwrap();
    let good = std::fs::read(&path).unwrap();
    let bads: [Vec<u8>; 5] = [
        Vec::new(),
        good[..good.len() - 3].to_vec(),
        [&good[..], b"extra\n"].concat(),
        b"\xff\xfe".to_vec(),
        vec![b'a'; KEY_RING_FILE_BYTES_MAX as usize + 1],
    ];
    for bad in bads {
        std::fs::write(&path, &bad).unwrap();
        assert!(KeyRing::load_or_create(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), bad);
    }
}

#[test]
fn d36_a_ring_prints_no_key() {
    let ring = ring(0x41);
    let shown = format!("{ring:?}");
    assert!(
        !shown.contains("65") && !shown.contains("AAAA") && !shown.contains("41"),
        "{shown}"
    );
}

#[test]
fn a_ring_that_several_share_is_rotated_without_a_moment_in_which_one_cannot_open() {
    let mut byte = 0;
    let mut fill = |out: &mut [u8]| {
        byte += 1;
        out.fill(byte);
    };
    let old = KeyRing::generate(&mut fill);
    let text = old.to_text();
    let again = || KeyRing::from_text(&text).unwrap();
    let prepared = again().prepare(&mut fill);
    let promoted = KeyRing::from_text(&prepared.to_text()).unwrap().promote();
    for (sealer, openers) in [
        (&old, [&old, &prepared]),
        (&prepared, [&old, &promoted]),
        (&promoted, [&prepared, &promoted]),
    ] {
        let token = sealer.seal(Purpose::Cursor, b"", b"state").unwrap();
        for opener in openers {
            assert_eq!(opener.open(Purpose::Cursor, b"", &token).unwrap(), b"state");
        }
    }
    assert!(KeyRing::from_text("something else").is_none());
}

#[test]
fn a_ring_that_was_taken_over_seals_and_opens_as_the_other() {
    let mut byte = 0;
    let mut fill = |out: &mut [u8]| {
        byte += 1;
        out.fill(byte);
    };
    let shared = KeyRing::generate(&mut fill);
    let text = shared.to_text();
    let before = shared.seal(Purpose::Session, b"", b"old").unwrap();
    let rotated = KeyRing::from_text(&text).unwrap().rotate(&mut fill);
    let other = KeyRing::from_text(&rotated.to_text()).unwrap();
    shared.take_over(rotated);
    assert_eq!(shared.open(Purpose::Session, b"", &before).unwrap(), b"old");
    let after = shared.seal(Purpose::Session, b"", b"new").unwrap();
    assert_eq!(other.open(Purpose::Session, b"", &after).unwrap(), b"new");
    let stranger = KeyRing::generate(&mut fill);
    shared.take_over(stranger);
    assert!(
        shared.open(Purpose::Session, b"", &after).is_err(),
        "what the new ring lacks does not open"
    );
}
