//! What clients carry for us: sealed, and worth nothing once a bit of it has changed.

use std::sync::LazyLock;

use meshgate_identity::KeyRing;
use meshgate_identity::keys::Purpose;
use meshgate_proxy::call::Caller;
use meshgate_proxy::{catalogue, lower, resolve};

const VIEW: &str = "/mcp";

/// The same keys for every input, so that a crash can be shown again.
static KEYS: LazyLock<KeyRing> = LazyLock::new(|| {
    let mut next = 0_u8;
    KeyRing::generate(&mut |bytes| {
        for byte in bytes {
            next = next.wrapping_mul(31).wrapping_add(7);
            *byte = next;
        }
    })
});

fn caller(name: &str) -> Caller {
    Caller::new(Some(name.into()), None)
}

/// As the content of a session id the input means something or nothing, and what it means can be written and read again; as
/// a session id it does not open; and a sound id with any change does not open either, nor for another caller or view.
pub fn session(input: &[u8]) {
    let (ours, theirs) = (caller("ours"), caller("theirs"));
    let text = String::from_utf8_lossy(input);
    assert!(!lower::fuzzing::opens(&KEYS, &ours, VIEW, &text), "made up");
    let Some((id, again)) = lower::fuzzing::reread(&KEYS, &ours, VIEW, input) else {
        return;
    };
    let plain = |id: &str| KEYS.open(Purpose::Session, &binding(&ours), id).ok();
    let meant = plain(&again).expect("what was sealed opens");
    let (_, once_more) = lower::fuzzing::reread(&KEYS, &ours, VIEW, &meant).expect("what was written can be read");
    assert_eq!(plain(&once_more), Some(meant), "written once, it stays as it is");
    assert!(lower::fuzzing::opens(&KEYS, &ours, VIEW, &id));
    assert!(!lower::fuzzing::opens(&KEYS, &theirs, VIEW, &id));
    assert!(!lower::fuzzing::opens(&KEYS, &ours, "/other", &id));
    for changed in changes(&id, input) {
        assert!(!lower::fuzzing::opens(&KEYS, &ours, VIEW, &changed), "{changed}");
    }
}

/// As `lower` binds an id to its caller and view.
fn binding(caller: &Caller) -> Vec<u8> {
    let name = caller.binding();
    [&(name.len() as u64).to_be_bytes(), name, VIEW.as_bytes()].concat()
}

/// The content of a cursor is written one way only, and no changed seal opens.
pub fn cursor(input: &[u8]) {
    if let Some(again) = catalogue::reread_cursor(input) {
        assert_eq!(again, input, "two contents mean one thing");
    }
    seal_holds(Purpose::Cursor, input);
}

/// The content of a `requestState` comes back as it was, and no changed seal opens.
pub fn state(input: &[u8]) {
    if let Some(again) = resolve::reread_state(input) {
        assert_eq!(resolve::reread_state(&again).as_deref(), Some(&*again));
    }
    seal_holds(Purpose::RequestState, input);
}

fn seal_holds(purpose: Purpose, input: &[u8]) {
    let (bound, plain) = crate::cut(input, b'\n');
    let token = KEYS.seal(purpose, bound, plain).expect("small inputs can be sealed");
    assert_eq!(KEYS.open(purpose, bound, &token).as_deref(), Ok(plain));
    assert!(KEYS.open(purpose, &[bound, b"!"].concat(), &token).is_err());
    assert!(KEYS.open(Purpose::TaskId, bound, &token).is_err());
    assert!(KEYS.open(purpose, bound, &String::from_utf8_lossy(input)).is_err());
    for changed in changes(&token, input) {
        assert!(KEYS.open(purpose, bound, &changed).is_err(), "{changed}");
    }
}

/// A token with one character changed, cut short, and lengthened; the input says where and into what.
fn changes(token: &str, input: &[u8]) -> Vec<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ ";
    let [at, into] = [input.first(), input.last()].map(|byte| usize::from(*byte.unwrap_or(&0)));
    let at = at % token.len();
    let mut other = token.as_bytes().to_vec();
    other[at] = ALPHABET[into % ALPHABET.len()];
    let other = String::from_utf8(other).expect("a token is ASCII");
    let mut all = vec![
        token[..at].to_owned(),
        format!("{token}{}", &token[at..=at]),
        format!("{token}="),
    ];
    all.extend((other != token).then_some(other));
    all
}
