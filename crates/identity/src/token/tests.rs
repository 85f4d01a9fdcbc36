#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn token(seed: u8) -> ServiceToken {
    ServiceToken::generate(&mut |b| b.fill(seed))
}

#[test]
fn a_token_is_prefixed_and_holds_256_bits() {
    let token = token(0xff);
    assert_eq!(token.expose(), "mg___________________________________________8");
    assert_eq!(token.expose().len(), 3 + 43);
}

#[test]
fn a_token_is_known_by_its_digest_only() {
    assert_eq!(token(1).digest(), token_digest(token(1).expose()));
    assert_ne!(token(1).digest(), token(2).digest());
}

#[test]
fn d36_a_token_never_prints() {
    assert_eq!(format!("{:?}", token(7)), "mg_***");
}

#[test]
fn only_text_of_the_right_form_is_a_token() {
    let good = token(3);
    assert!(ServiceToken::parse(&format!(" {}\n", good.expose())).is_some());
    for bad in [
        "",
        "mg_",
        "mg_abc",
        "secret",
        &good.expose()[1..],
        &good.expose()[..45],
        "mg_ \0",
    ] {
        assert!(ServiceToken::parse(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn no_token_has_the_digest_of_nothing_and_none_share_one() {
    let all = ["", "a", &"a".repeat(8 << 10), &"a".repeat((8 << 10) + 1)].map(token_digest);
    assert!(
        all.iter()
            .enumerate()
            .all(|(at, digest)| *digest != [0; 32] && !all[..at].contains(digest))
    );
}
