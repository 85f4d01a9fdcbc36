//! What a context is worth, to whom, and for how long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use meshgate_testkit::ca::TestCa;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tests::{ca, id, peer, svid};

const LIFE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn caller() -> Caller {
    Caller::Application {
        application: "corpassist".to_owned(),
        user: Some("alma@corp.example".to_owned()),
        groups: vec!["engineering".to_owned(), "na\u{ef}ve \"quotes\"".to_owned()],
        scopes: vec!["tools:read".to_owned()],
        view: "everything".to_owned(),
    }
}

struct Hop {
    gateway: std::sync::Arc<Svid>,
    sidecar: SpiffeId,
}

impl Hop {
    fn new(ca: &TestCa) -> Self {
        Self {
            gateway: svid(ca, "/gateway/main"),
            sidecar: id("/server/documents/v1"),
        }
    }

    fn sign(&self, caller: &Caller) -> String {
        sign(&self.gateway, &self.sidecar, caller, "txn-1", noon(), LIFE).unwrap()
    }

    fn verify(&self, token: &str, now: SystemTime) -> Result<ContextClaims, ContextError> {
        verify(token, &peer(&self.gateway), &self.sidecar, now)
    }

    /// A token with these claims and this JOSE header, soundly signed.
    fn forge(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.gateway.key().sign_fixed(text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(&self) -> Value {
        let token = self.sign(&caller());
        let middle = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
    }

    fn with(&self, change: impl FnOnce(&mut Value)) -> Result<ContextClaims, ContextError> {
        let mut claims = self.claims();
        change(&mut claims);
        self.verify(&self.forge(HEAD, &claims.to_string()), noon())
    }
}

const HEAD: &str = r#"{"typ":"txntoken+jwt","alg":"ES256"}"#;

#[test]
fn a_context_says_what_was_signed() {
    let hop = Hop::new(&ca());
    for caller in [
        caller(),
        Caller::Gateway,
        Caller::Application {
            application: "bot".to_owned(),
            user: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            view: "v".to_owned(),
        },
    ] {
        let claims = hop.verify(&hop.sign(&caller), noon()).unwrap();
        assert_eq!(claims.caller, caller);
        assert_eq!((&claims.issuer, &claims.audience), (hop.gateway.id(), &hop.sidecar));
        assert_eq!((claims.issued_at, claims.expires_at), (noon(), noon() + LIFE));
        assert_eq!(claims.txn, "txn-1");
    }
}

#[test]
fn the_form_is_that_of_the_draft() {
    let hop = Hop::new(&ca());
    assert_eq!(URL_SAFE_NO_PAD.encode(HEAD), JOSE_HEADER);
    assert_eq!(
        hop.claims(),
        json!({
            "iss": "spiffe://corp.example/gateway/main",
            "aud": "spiffe://corp.example/server/documents/v1",
            "iat": 1_800_000_000_u64,
            "exp": 1_800_000_060_u64,
            "txn": "txn-1",
            "sub": "alma@corp.example",
            "scope": "call",
            "req_wl": "corpassist",
            "tctx": {
                "application": "corpassist",
                "user": "alma@corp.example",
                "groups": ["engineering", "na\u{ef}ve \"quotes\""],
                "scopes": ["tools:read"],
                "view": "everything",
            },
        })
    );
}

#[test]
fn another_library_reads_and_writes_the_same_tokens() {
    let hop = Hop::new(&ca());
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&[hop.sidecar.as_str()]);
    rules.validate_exp = false;
    let key = DecodingKey::from_ec_der(hop.gateway.key().public_key());
    let read = jsonwebtoken::decode::<Value>(&hop.sign(&caller()), &key, &rules).unwrap();
    assert_eq!(read.claims, hop.claims());
    assert_eq!(read.header.typ.as_deref(), Some("txntoken+jwt"));
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some("txntoken+jwt".to_owned());
    let signer = EncodingKey::from_ec_der(hop.gateway.key().pkcs8());
    let written = jsonwebtoken::encode(&header, &hop.claims(), &signer).unwrap();
    assert_eq!(hop.verify(&written, noon()).unwrap().caller, caller());
}

#[test]
fn a104_a_context_is_worth_nothing_on_another_connection() {
    let ca = ca();
    let hop = Hop::new(&ca);
    let token = hop.sign(&caller());
    // Another gateway; another replica of the same gateway; the same gateway after a rotation: none has signed it.
    for path in ["/gateway/other", "/gateway/main"] {
        let other = svid(&ca, path);
        assert_eq!(
            verify(&token, &peer(&other), &hop.sidecar, noon()),
            Err(ContextError::Signature),
            "{path}"
        );
    }
}

#[test]
fn a104_a_context_is_worth_nothing_to_another_server_or_version() {
    let hop = Hop::new(&ca());
    let token = hop.sign(&caller());
    for path in [
        "/server/documents/v2",
        "/server/projects/v1",
        "/gateway/main",
        "/control",
    ] {
        let refused = verify(&token, &peer(&hop.gateway), &id(path), noon());
        assert_eq!(refused, Err(ContextError::Audience), "{path}");
    }
}

#[test]
fn a104_a_context_is_good_for_its_life_and_the_skew_of_clocks() {
    let hop = Hop::new(&ca());
    let token = hop.sign(&caller());
    let at = |now| hop.verify(&token, now).map(drop);
    assert_eq!(at(noon() + LIFE + CONTEXT_SKEW - SECOND), Ok(()));
    assert_eq!(at(noon() + LIFE + CONTEXT_SKEW), Err(ContextError::Expired));
    assert_eq!(at(noon() - CONTEXT_SKEW), Ok(()));
    assert_eq!(at(noon() - CONTEXT_SKEW - SECOND), Err(ContextError::Early));
    let five_minutes = Duration::from_secs(300);
    assert_eq!(at(noon() + five_minutes), Err(ContextError::Expired));
    assert_eq!(at(noon() - five_minutes), Err(ContextError::Early));
    let believed = hop.verify(&token, noon()).unwrap();
    assert_eq!(in_time(&believed, noon() + five_minutes), Err(ContextError::Expired));
}

#[test]
fn a104_a_byte_changed_anywhere_is_seen() {
    let hop = Hop::new(&ca());
    let token = hop.sign(&caller());
    for at in 0..token.len() {
        for with in ['A', '.', '=', ' '] {
            let mut changed = token.clone().into_bytes();
            if changed[at] == with as u8 {
                continue;
            }
            changed[at] = with as u8;
            let changed = String::from_utf8(changed).unwrap();
            assert!(hop.verify(&changed, noon()).is_err(), "{with} at {at}");
        }
    }
    for cut in 0..token.len() {
        assert!(hop.verify(&token[..cut], noon()).is_err(), "cut at {cut}");
    }
}

#[test]
fn a104_no_other_header_is_believed_however_it_is_signed() {
    let hop = Hop::new(&ca());
    let claims = hop.claims().to_string();
    assert!(hop.verify(&hop.forge(HEAD, &claims), noon()).is_ok());
    for header in [
        r#"{"typ":"txntoken+jwt","alg":"none"}"#,
        r#"{"typ":"txntoken+jwt","alg":"HS256"}"#,
        r#"{"typ":"txntoken+jwt","alg":"es256"}"#,
        r#"{"typ":"JWT","alg":"ES256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","typ":"txntoken+jwt"}"#,
        r#"{"typ":"txntoken+jwt","alg":"ES256","kid":"../../dev/null"}"#,
        r#"{"typ":"txntoken+jwt","alg":"ES256","jwk":{"kty":"EC"}}"#,
        r#"{"typ":"txntoken+jwt","alg":"ES256","crit":["x"],"x":1}"#,
        r#"{"typ":"txntoken+jwt","alg":"ES256"} "#,
        "",
    ] {
        assert_eq!(
            hop.verify(&hop.forge(header, &claims), noon()),
            Err(ContextError::Malformed),
            "{header}"
        );
    }
    let unsigned = format!("{JOSE_HEADER}.{}.", URL_SAFE_NO_PAD.encode(&claims));
    assert_eq!(hop.verify(&unsigned, noon()), Err(ContextError::Signature));
    let zeros = format!(
        "{JOSE_HEADER}.{}.{}",
        URL_SAFE_NO_PAD.encode(&claims),
        URL_SAFE_NO_PAD.encode([0; 64])
    );
    assert_eq!(hop.verify(&zeros, noon()), Err(ContextError::Signature));
}

#[test]
fn a104_every_claim_is_required_and_has_its_type() {
    let hop = Hop::new(&ca());
    assert!(hop.with(|_| ()).is_ok());
    for name in ["iss", "aud", "iat", "exp", "txn", "sub", "scope", "req_wl", "tctx"] {
        let missing = hop.with(|claims| drop(claims.as_object_mut().unwrap().remove(name)));
        assert_eq!(missing, Err(ContextError::Malformed), "{name} missing");
        for wrong in [json!(null), json!([]), json!(true), json!(1.5), json!(-1)] {
            let refused = hop.with(|claims| claims[name] = wrong.clone());
            assert_eq!(refused, Err(ContextError::Malformed), "{name}: {wrong}");
        }
    }
    for time in ["iat", "exp"] {
        for wrong in [
            json!("1800000000"),
            json!(1e99),
            json!(253_402_300_800_u64),
            json!(u64::MAX),
        ] {
            let refused = hop.with(|claims| claims[time] = wrong.clone());
            assert_eq!(refused, Err(ContextError::Malformed), "{time}: {wrong}");
        }
    }
    let twice = hop.claims().to_string().replacen('{', r#"{"exp":1800000050,"#, 1);
    assert_eq!(
        hop.verify(&hop.forge(HEAD, &twice), noon()),
        Err(ContextError::Malformed)
    );
    for trailing in [" {}", "x"] {
        let longer = format!("{}{trailing}", hop.claims());
        assert_eq!(
            hop.verify(&hop.forge(HEAD, &longer), noon()),
            Err(ContextError::Malformed)
        );
    }
}

#[test]
fn a104_claims_that_contradict_each_other_are_not_believed() {
    let hop = Hop::new(&ca());
    let refused = |change: fn(&mut Value)| hop.with(change).unwrap_err();
    assert_eq!(refused(|c| c["exp"] = json!(1_800_000_061_u64)), ContextError::Life);
    assert_eq!(refused(|c| c["exp"] = json!(1_800_000_000_u64)), ContextError::Life);
    assert_eq!(refused(|c| c["exp"] = json!(1_799_999_999_u64)), ContextError::Life);
    assert_eq!(
        refused(|c| c["iss"] = json!("spiffe://corp.example/gateway/other")),
        ContextError::Issuer
    );
    assert_eq!(
        refused(|c| c["iss"] = json!("spiffe://corp.example/gateway-evil")),
        ContextError::Malformed
    );
    assert_eq!(
        refused(|c| c["aud"] = json!(["spiffe://corp.example/server/documents/v1"])),
        ContextError::Malformed
    );
    assert_eq!(refused(|c| c["sub"] = json!("somebody else")), ContextError::Malformed);
    assert_eq!(refused(|c| c["req_wl"] = json!("another")), ContextError::Malformed);
    assert_eq!(refused(|c| c["scope"] = json!("keep")), ContextError::Malformed);
    assert_eq!(refused(|c| c["tctx"]["gateway"] = json!(true)), ContextError::Malformed);
    assert_eq!(refused(|c| c["tctx"] = json!({})), ContextError::Malformed);
    assert_eq!(
        refused(|c| c["tctx"]["application"] = json!("")),
        ContextError::Malformed
    );
    assert_eq!(refused(|c| c["tctx"]["view"] = json!("")), ContextError::Malformed);
    assert_eq!(
        refused(|c| c["tctx"]["groups"] = json!("engineering")),
        ContextError::Malformed
    );
    let gateway = |c: &mut Value| {
        c["scope"] = json!("keep");
        c["tctx"] = json!({ "gateway": true });
    };
    assert_eq!(hop.with(gateway).unwrap().caller, Caller::Gateway);
    assert!(
        hop.with(|c| c["tctx"]["later"] = json!("a newer gateway says more"))
            .is_ok()
    );
}

#[test]
fn only_a_gateway_issues_contexts() {
    let ca = ca();
    let sidecar = svid(&ca, "/server/documents/v1");
    let refused = sign(&sidecar, sidecar.id(), &Caller::Gateway, "t", noon(), LIFE);
    assert!(matches!(refused, Err(SignError::NotGateway(_))));
    // And one that a sidecar wrote all the same is not believed.
    let hop = Hop {
        gateway: sidecar,
        sidecar: id("/server/documents/v1"),
    };
    let claims = Hop::new(&ca)
        .claims()
        .to_string()
        .replace("/gateway/main", "/server/documents/v1");
    assert_eq!(hop.verify(&hop.forge(HEAD, &claims), noon()), Err(ContextError::Issuer));
}

#[test]
fn limits_hold_on_both_sides() {
    let hop = Hop::new(&ca());
    let sign_for = |life| sign(&hop.gateway, &hop.sidecar, &Caller::Gateway, "t", noon(), life).map(drop);
    assert!(sign_for(LIFE - SECOND).is_ok() && sign_for(LIFE).is_ok());
    assert!(matches!(sign_for(LIFE + SECOND), Err(SignError::Life)));
    assert!(matches!(sign_for(Duration::ZERO), Err(SignError::Life)));
    let with = |count: usize, length: usize| Caller::Application {
        application: "a".to_owned(),
        user: None,
        groups: vec!["g".repeat(length); count],
        scopes: Vec::new(),
        view: "v".to_owned(),
    };
    let sign_as = |caller: &Caller| sign(&hop.gateway, &hop.sidecar, caller, "t", noon(), LIFE);
    for count in [CONTEXT_LIST_MAX - 1, CONTEXT_LIST_MAX] {
        assert!(hop.verify(&sign_as(&with(count, 1)).unwrap(), noon()).is_ok());
    }
    assert!(matches!(
        sign_as(&with(CONTEXT_LIST_MAX + 1, 1)),
        Err(SignError::TooMany(_))
    ));
    let longest = (1..CONTEXT_CHARS_MAX)
        .rev()
        .find(|length| sign_as(&with(1, *length)).is_ok())
        .unwrap();
    let token = sign_as(&with(1, longest)).unwrap();
    assert!(token.len() <= CONTEXT_CHARS_MAX && token.len() + 2 > CONTEXT_CHARS_MAX);
    assert!(hop.verify(&token, noon()).is_ok());
    assert!(matches!(sign_as(&with(1, longest + 1)), Err(SignError::TooLong(_))));
    assert_eq!(
        hop.verify(&"x".repeat(CONTEXT_CHARS_MAX), noon()),
        Err(ContextError::Malformed)
    );
    assert_eq!(
        hop.verify(&"x".repeat(CONTEXT_CHARS_MAX + 1), noon()),
        Err(ContextError::TooLong)
    );
    assert_eq!(hop.verify("", noon()), Err(ContextError::Missing));
}

proptest! {
    /// Any text at all is answered without a panic, and believed by nobody.
    #[test]
    fn no_text_is_a_context(text in prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_.=-]{0,200}",
        "[A-Za-z0-9_-]{0,100}".prop_map(|rest| format!("{JOSE_HEADER}.{rest}")),
        "[A-Za-z0-9_-]{0,90}".prop_map(|rest| format!("{JOSE_HEADER}.e30.{rest}")),
    ]) {
        let hop = Hop::new(&ca());
        prop_assert!(hop.verify(&text, noon()).is_err());
    }

    /// Whatever a caller is called, it comes out as it went in.
    #[test]
    fn every_caller_survives_the_way(
        application in any::<String>().prop_filter("named", |name| !name.is_empty()),
        user in proptest::option::of(any::<String>()),
        groups in proptest::collection::vec(any::<String>(), 0..4),
    ) {
        let hop = Hop::new(&ca());
        let caller = Caller::Application { application, user, groups, scopes: Vec::new(), view: "v".to_owned() };
        prop_assert_eq!(hop.verify(&hop.sign(&caller), noon()).unwrap().caller, caller);
    }
}
