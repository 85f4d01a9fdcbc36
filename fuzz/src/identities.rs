//! What parts of a mesh show each other: certificates, and what a gateway says about a caller.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use meshgate_identity::context::{self, Caller, ContextError};
use meshgate_identity::svid::LeafError;
use meshgate_identity::{Peer, Svid, SvidKey, TrustBundle};
use meshgate_model::SpiffeId;
use meshgate_testkit::ca::{TestCa, Wish};

const GATEWAY: &str = "spiffe://corp.example/gateway/main";
const SIDECAR: &str = "spiffe://corp.example/server/documents/v1";
/// `{"typ":"txntoken+jwt","alg":"ES256"}` in base64url.
const HEAD: &str = "eyJ0eXAiOiJ0eG50b2tlbitqd3QiLCJhbGciOiJFUzI1NiJ9";

/// One gateway with its key. The key is new in each run and nothing that is asserted depends on it.
struct Gateway {
    svid: Svid,
    bundle: TrustBundle,
    signer: EncodingKey,
    sidecar: SpiffeId,
}

static GATEWAY_PART: LazyLock<Gateway> = LazyLock::new(|| {
    let ca = TestCa::new("corp.example");
    let issued = ca.issue_as(&Wish::of(GATEWAY));
    let key = SvidKey::from_pkcs8(&issued.key).expect("a key");
    let domain = ca.domain().parse().expect("a domain");
    Gateway {
        svid: Svid::new(key, issued.chain.clone()).expect("a SVID"),
        bundle: TrustBundle::new(domain, vec![ca.root()], Vec::new()).expect("a bundle"),
        signer: EncodingKey::from_ec_der(&issued.key),
        sidecar: SIDECAR.parse().expect("an id"),
    }
});

/// The moment at which the contexts of the corpus were made.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The input as a token is no context; as soundly signed claims it is one only when they name this gateway, this sidecar and
/// a time around now, and then what it says can be written and read again.
pub fn context(input: &[u8]) {
    let gateway = &*GATEWAY_PART;
    let signer = Peer::of(Some(gateway.svid.chain())).expect("a part");
    let verify = |token: &str| context::verify(token, &signer, &gateway.sidecar, noon());
    assert!(verify(&String::from_utf8_lossy(input)).is_err(), "made up");
    let signed = format!("{HEAD}.{}", base64url(input));
    let signature = crypto::sign(signed.as_bytes(), &gateway.signer, Algorithm::ES256).expect("a signature");
    let claims = match verify(&format!("{signed}.{signature}")) {
        Ok(claims) => claims,
        Err(ContextError::Signature) => panic!("a sound signature"),
        Err(_) => return,
    };
    assert_eq!((claims.issuer.as_str(), claims.audience.as_str()), (GATEWAY, SIDECAR));
    assert!(claims.expires_at > noon() - Duration::from_secs(30));
    assert!(claims.issued_at <= noon() + Duration::from_secs(30));
    assert!(claims.expires_at <= claims.issued_at + Duration::from_secs(60));
    if let Caller::Application { application, view, .. } = &claims.caller {
        assert!(!application.is_empty() && !view.is_empty());
    }
    let life = Duration::from_secs(60);
    if let Ok(again) = context::sign(
        &gateway.svid,
        &gateway.sidecar,
        &claims.caller,
        &claims.txn,
        noon(),
        life,
    ) {
        let again = verify(&again).expect("what was written is believed");
        assert_eq!((again.caller, again.txn), (claims.caller, claims.txn));
    }
}

/// A certificate of any bytes names no part of a mesh or exactly one, which is written in it; and nobody vouches for it but
/// the authority that signed it.
pub fn certificate(input: &[u8]) {
    let gateway = &*GATEWAY_PART;
    let shown = [input.to_vec().into()];
    let read = Peer::of(Some(&shown));
    if let Ok(peer) = &read {
        let name = peer.id().as_str();
        assert_eq!(name.parse::<SpiffeId>().as_ref(), Ok(peer.id()), "written the one way");
        assert!(
            input.windows(name.len()).any(|bytes| bytes == name.as_bytes()),
            "out of nothing"
        );
        assert_eq!(peer.public_key().len(), 65);
        assert!(!peer.serial().is_empty() && peer.serial().bytes().all(|b| b.is_ascii_hexdigit()));
    }
    assert_ne!(read.err(), Some(LeafError::Missing));
    assert!(gateway.bundle.vouches_for(&shown, noon()).is_err(), "a stranger");
    let behind = [shown[0].clone(), gateway.svid.chain()[1].clone()];
    assert!(
        gateway.bundle.vouches_for(&behind, noon()).is_err(),
        "a stranger behind our own"
    );
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}
