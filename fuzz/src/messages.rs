//! The scan, the splicer and the walker over URIs.

use meshgate_mcp::content::{Direction, UriKind, map_uris};
use meshgate_mcp::{Kind, Message, Method, Object, Rules, Span, Splice, Value, elements, json};

/// A client's message that is accepted is JSON to another reader, is accepted from a server too, and repeats no member
/// anywhere. Reading values never panics, whether the bytes were accepted or not.
pub fn scan(input: &[u8]) {
    let client = meshgate_mcp::scan(input, &Rules::CLIENT);
    let server = meshgate_mcp::scan(input, &Rules::SERVER);
    let _ = meshgate_mcp::batch(input, &Rules::CLIENT);
    assert_eq!(
        json::valid(input, usize::MAX),
        is_json(input),
        "both readers have one grammar"
    );
    match client {
        Ok(message) => {
            let server = server.expect("what a client may send a server may send");
            assert_eq!(message.root, server.root);
            assert_eq!(message.body, server.body);
            check_message(input, &message);
            no_member_twice(input, message.root.span);
            same_as_another_reader(input, message.root.span);
        }
        Err(error) => {
            assert!(error.at() <= input.len());
            assert!(matches!(error.code(), -32700 | -32600));
            let whole = Span {
                start: 0,
                end: u32::try_from(input.len()).expect("inputs are small"),
            };
            let _ = Object::read(input, whole);
            let _ = elements(input, whole).count();
        }
    }
}

fn is_json(input: &[u8]) -> bool {
    std::str::from_utf8(input).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

fn check_message(src: &[u8], message: &Message) {
    assert_eq!(message.root.span.of(src), src.trim_ascii());
    assert_eq!(Object::read(src, message.root.span).as_ref(), Some(&message.root));
    for object in message.body.iter().chain(&message.meta) {
        assert_eq!(Object::read(src, object.span).as_ref(), Some(object));
    }
}

/// Every value, all the way down, is what `serde_json` reads. Numbers that no double holds are left out: it rounds them.
fn same_as_another_reader(src: &[u8], root: Span) {
    let Ok(tree) = serde_json::from_slice::<serde_json::Value>(src) else {
        return;
    };
    let root = Value {
        span: root,
        kind: Kind::Object,
        escaped: false,
    };
    let mut open = vec![(root, &tree)];
    while let Some((value, tree)) = open.pop() {
        match (value.kind, tree) {
            (Kind::Object, serde_json::Value::Object(map)) => {
                let object = Object::read(src, value.span).expect("an object");
                assert_eq!(object.members.len(), map.len());
                for member in &object.members {
                    open.push((member.value, map.get(&*member.name(src)).expect("the same members")));
                }
            }
            (Kind::Array, serde_json::Value::Array(items)) => {
                let found: Vec<_> = elements(src, value.span).collect();
                assert_eq!(found.len(), items.len());
                open.extend(found.into_iter().zip(items));
            }
            (Kind::String, serde_json::Value::String(text)) => assert_eq!(value.str(src).as_deref(), Some(&**text)),
            // A float to the other reader, a zero to ours.
            (Kind::Number, serde_json::Value::Number(_)) if value.raw(src) == b"-0" => {}
            (Kind::Number, serde_json::Value::Number(number)) => {
                if let Some(read) = value.u64(src) {
                    assert_eq!(number.as_u64(), Some(read));
                }
                if let Some(read) = value.i64(src) {
                    assert_eq!(number.as_i64(), Some(read));
                }
            }
            (Kind::True | Kind::False, serde_json::Value::Bool(truth)) => assert_eq!(value.bool(src), Some(*truth)),
            (Kind::Null, serde_json::Value::Null) => {}
            (kind, tree) => panic!("{kind:?} is not {tree}"),
        }
    }
}

fn no_member_twice(src: &[u8], root: Span) {
    let mut open = vec![Value {
        span: root,
        kind: Kind::Object,
        escaped: false,
    }];
    while let Some(value) = open.pop() {
        match value.kind {
            Kind::Object => {
                let object = Object::read(src, value.span).expect("an object");
                let mut names: Vec<_> = object.members.iter().map(|member| member.name(src)).collect();
                names.sort();
                assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a member twice");
                open.extend(object.members.iter().map(|member| member.value));
            }
            Kind::Array => open.extend(elements(src, value.span)),
            Kind::String => drop(value.str(src).expect("a string")),
            _ => drop((value.u64(src), value.i64(src), value.bool(src))),
        }
    }
}

/// The first line says what to change, the rest is the object to change: valid JSON stays valid JSON.
pub fn splice(input: &[u8]) {
    let (changes, src) = crate::cut(input, b'\n');
    let whole = Span {
        start: 0,
        end: u32::try_from(src.len()).expect("inputs are small"),
    };
    let Some(root) = Object::read(src, whole) else { return };
    let nested = root
        .members
        .iter()
        .filter_map(|member| Object::read(src, member.value.span));
    let objects: Vec<Object> = std::iter::once(root.clone()).chain(nested).collect();
    let mut splice = Splice::new(src);
    for change in changes.chunks_exact(3) {
        let object = &objects[usize::from(change[0]) % objects.len()];
        let index = usize::from(change[1]);
        let key = char::from(change[1]).to_string();
        match (change[2] % 5, object.members.get(index % object.members.len().max(1))) {
            (0, _) => splice.insert(object, &key, b"[1]"),
            (1, _) => splice.remove(object, index % object.members.len().max(1)),
            (2, _) => splice.set(object, &key, b"null"),
            (3, Some(member)) => splice.replace(member.value.span, b"{}"),
            (4, Some(member)) => splice.remove_named(object, &member.name(src)),
            _ => {}
        }
    }
    let untouched = splice.is_empty();
    let out = splice.finish();
    assert!(!untouched || out == src);
    if json::valid(src, usize::MAX) {
        assert!(json::valid(&out, usize::MAX), "{}", String::from_utf8_lossy(&out));
    }
}

/// Whatever a message holds, replacing its URIs keeps it a message, and the second pass finds the replaced ones.
pub fn content(input: &[u8]) {
    let Ok(message) = meshgate_mcp::scan(input, &Rules::SERVER) else {
        return;
    };
    for method in Method::all() {
        for dir in [Direction::ToClient, Direction::ToServer] {
            let mut found = 0;
            let mut splice = Splice::new(input);
            let mut wrap = |uri: &str, _: UriKind| {
                found += 1;
                Some(format!("w:{uri}"))
            };
            map_uris(input, &message, method, dir, &mut wrap, &mut splice);
            let out = splice.finish();
            let again = meshgate_mcp::scan(
                &out,
                &Rules {
                    bytes_max: usize::MAX,
                    ..Rules::SERVER
                },
            );
            let again = again.expect("a message stays a message");
            let mut wrapped = 0;
            let mut look = |uri: &str, _: UriKind| {
                wrapped += usize::from(uri.starts_with("w:"));
                None
            };
            map_uris(&out, &again, method, dir, &mut look, &mut Splice::new(&out));
            assert_eq!(found, wrapped, "{method:?} {dir:?}");
        }
    }
}
