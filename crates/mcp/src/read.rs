//! Reading deeper levels of bytes that were scanned before.
//!
//! The scan records three levels, because every call needs those. What lies deeper is read on demand with the functions
//! here. They trust the grammar, which the scan has proven, and not the bounds: on bytes that were never scanned they
//! stop early and never panic. None of them recurses; nested containers are skipped by counting brackets.

use memchr::memchr2;

use crate::value::{Kind, Member, Object, Span, Value};

/// The values of an array, in order.
pub fn elements(src: &[u8], array: Span) -> impl Iterator<Item = Value> + '_ {
    let mut reader = Reader::inside(src, array, b'[');
    std::iter::from_fn(move || reader.as_mut()?.element())
}

/// The value at a path of member names below an object.
pub fn lookup(src: &[u8], object: Span, path: &[&str]) -> Option<Value> {
    let mut found = Value {
        span: object,
        kind: Kind::Object,
        escaped: false,
    };
    for name in path {
        if found.kind != Kind::Object {
            return None;
        }
        found = member(src, found.span, name)?;
    }
    Some(found)
}

/// The last member `name` of an object, without collecting the others.
fn member(src: &[u8], object: Span, name: &str) -> Option<Value> {
    let mut reader = Reader::inside(src, object, b'{')?;
    let mut found = None;
    while let Some(member) = reader.member() {
        if member.is(src, name) {
            found = Some(member.value);
        }
    }
    found
}

pub(crate) fn object(src: &[u8], span: Span) -> Option<Object> {
    let mut reader = Reader::inside(src, span, b'{')?;
    let mut object = Object {
        span,
        ..Object::default()
    };
    while let Some(member) = reader.member() {
        object.members.push(member);
    }
    Some(object)
}

/// The members of the object that the bytes are, of the first object named by `path` in it, and so on down the path. Each
/// level is read once, while the one around it is.
pub(crate) fn levels(src: &[u8], path: &[&[&str]], inner: &mut [Option<Object>]) -> Option<Object> {
    let mut reader = Reader { src, at: 0 };
    reader.skip_separators();
    reader.level(path, inner)
}

/// The value that starts at the first byte of `span` that is not white space.
pub(crate) fn value_at(src: &[u8], span: Span) -> Option<Value> {
    let mut reader = Reader {
        src: src.get(..span.end as usize)?,
        at: span.start as usize,
    };
    reader.skip_separators();
    reader.value()
}

/// A place inside of a container.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// The message up to the end of the container that is read, so that nothing outside of it is ever taken.
    src: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The place behind the brace of an object or the bracket of an array.
    pub(crate) fn enter(src: &'a [u8], value: &Value) -> Option<Self> {
        match value.kind {
            Kind::Object => Self::inside(src, value.span, b'{'),
            Kind::Array => Self::inside(src, value.span, b'['),
            _ => None,
        }
    }

    /// The next element of an array.
    pub(crate) fn element(&mut self) -> Option<Value> {
        self.skip_separators();
        self.value()
    }

    /// Starts behind the opening bracket of a container.
    fn inside(src: &'a [u8], span: Span, open: u8) -> Option<Self> {
        let src = src.get(..span.end as usize)?;
        let at = span.start as usize;
        (*src.get(at)? == open).then_some(Self { src, at: at + 1 })
    }

    fn peek(&self) -> Option<u8> {
        self.src.get(self.at).copied()
    }

    /// White space, commas and colons: the scan has proven that they stand where they must.
    fn skip_separators(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')) {
            self.at += 1;
        }
    }

    /// The next member of an object.
    pub(crate) fn member(&mut self) -> Option<Member> {
        self.skip_separators();
        if self.peek()? != b'"' {
            return None;
        }
        let (key, key_escaped) = self.string()?;
        self.skip_separators();
        let value = self.value()?;
        Some(Member {
            key: Span::new(key.start as usize + 1, key.end as usize - 1),
            key_escaped,
            value,
        })
    }

    /// The object that starts here, with what [`levels`] wants of it. As deep as the path is long.
    fn level(&mut self, path: &[&[&str]], inner: &mut [Option<Object>]) -> Option<Object> {
        let start = self.at;
        (self.peek()? == b'{').then(|| self.at += 1)?;
        let mut object = Object::default();
        loop {
            self.skip_separators();
            if self.peek()? == b'}' {
                self.at += 1;
                object.span = Span::new(start, self.at);
                return Some(object);
            }
            let (key, key_escaped) = self.string()?;
            let key = Span::new(key.start as usize + 1, key.end as usize - 1);
            self.skip_separators();
            let from = self.at;
            let named = path
                .split_first()
                .zip(inner.split_first_mut())
                .filter(|((names, _), _)| {
                    self.peek() == Some(b'{') && names.iter().any(|name| key.of(self.src) == name.as_bytes())
                });
            let value = if let Some(((_, path), (found, inner))) = named {
                *found = Some(self.level(path, inner)?);
                Value {
                    span: Span::new(from, self.at),
                    kind: Kind::Object,
                    escaped: false,
                }
            } else {
                self.value()?
            };
            object.members.push(Member {
                key,
                key_escaped,
                value,
            });
        }
    }

    fn value(&mut self) -> Option<Value> {
        let start = self.at;
        let (kind, escaped) = match self.peek()? {
            b'"' => {
                let (span, escaped) = self.string()?;
                return Some(Value {
                    span,
                    kind: Kind::String,
                    escaped,
                });
            }
            b'{' => (self.container(Kind::Object)?, false),
            b'[' => (self.container(Kind::Array)?, false),
            b't' => (self.word(Kind::True), false),
            b'f' => (self.word(Kind::False), false),
            b'n' => (self.word(Kind::Null), false),
            b'-' | b'0'..=b'9' => (self.word(Kind::Number), false),
            _ => return None,
        };
        Some(Value {
            span: Span::new(start, self.at),
            kind,
            escaped,
        })
    }

    /// A string with its quotes, and whether it holds a backslash.
    fn string(&mut self) -> Option<(Span, bool)> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = self.src.get(self.at..)?;
            let found = memchr2(b'"', b'\\', rest)?;
            self.at += found;
            if self.peek()? == b'"' {
                self.at += 1;
                return Some((Span::new(start, self.at), escaped));
            }
            escaped = true;
            self.at += 2;
        }
    }

    fn container(&mut self, kind: Kind) -> Option<Kind> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(kind);
            }
        }
    }

    /// A number or a literal: everything up to the next structural byte.
    fn word(&mut self, kind: Kind) -> Kind {
        while !matches!(
            self.peek(),
            None | Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}' | b':' | b'"')
        ) {
            self.at += 1;
        }
        kind
    }
}
