//! The pass itself: a loop over values with a stack of open containers.

use smallvec::SmallVec;

use super::fault::{Fault, ScanError};
use super::keys::{self, Keys};
use super::text::Text;
use super::{Message, Rules, Side};
use crate::limits::MEMBERS_MAX;
use crate::value::{Kind, Member, Object, Span, Value};

/// Which part of a message a container is; decides which of its keys the protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// The envelope.
    Root,
    /// `params`, `result` or `error`.
    Body,
    /// `_meta` of the body.
    Meta,
    /// `params.ref` of `completion/complete`.
    Reference,
    /// `params.notifications` of `subscriptions/listen`, with its arrays.
    Filter,
    /// `params.arguments` and everything below: the tool's own words.
    Arguments,
    /// Everything else.
    Plain,
}

#[derive(Clone, Copy)]
struct Frame {
    start: usize,
    level: Level,
    object: bool,
    /// Where this object's keys start among the open keys.
    mark: usize,
    /// The key whose value comes next.
    key: Span,
    key_escaped: bool,
    /// What the value of that key is, if it is a container.
    child: Level,
}

impl Frame {
    /// What stands around the message: no container.
    const NONE: Self = Self {
        start: 0,
        level: Level::Plain,
        object: false,
        mark: 0,
        key: Span { start: 0, end: 0 },
        key_escaped: false,
        child: Level::Plain,
    };
}

pub(super) struct Pass<'a> {
    pub(super) src: &'a [u8],
    pub(super) at: usize,
    pub(super) rules: &'a Rules,
    /// The innermost open container; [`Frame::NONE`] where there is none.
    top: Frame,
    /// Those around it, from the outside in, beginning with [`Frame::NONE`]: as many as containers are open.
    outer: SmallVec<[Frame; 8]>,
    keys: Keys,
    nodes: usize,
    /// What is recorded of a message. Made where it stays: it is as large as a page of text, and many hands pass it on.
    found: Box<Message>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(src: &'a [u8], rules: &'a Rules) -> Self {
        Self {
            src,
            at: 0,
            rules,
            top: Frame::NONE,
            outer: SmallVec::new(),
            keys: Keys::default(),
            nodes: 0,
            found: Box::new(Message::unread()),
        }
    }

    pub(super) fn into_found(self) -> Box<Message> {
        self.found
    }

    pub(super) fn fault(&self, fault: Fault) -> ScanError {
        fault.at(self.at)
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.src.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Up to the first byte of the message.
    pub(super) fn start(&mut self) -> Result<(), ScanError> {
        if self.src.starts_with(&[0xef, 0xbb, 0xbf]) {
            return Err(self.fault(Fault::Bom));
        }
        self.skip_space();
        if self.peek().is_none() {
            Err(self.fault(Fault::Empty))
        } else {
            Ok(())
        }
    }

    /// One value and nothing behind it.
    pub(super) fn document(&mut self, level: Level) -> Result<Value, ScanError> {
        let value = self.nested(level)?;
        self.skip_space();
        if self.peek().is_some() {
            Err(self.fault(Fault::Trailing))
        } else {
            Ok(value)
        }
    }

    /// One value with everything inside of it.
    fn nested(&mut self, level: Level) -> Result<Value, ScanError> {
        let mut next = level;
        loop {
            // A container was opened: its first value comes next.
            let Some(mut done) = self.value(next)? else {
                next = self.top.child;
                continue;
            };
            loop {
                if self.outer.is_empty() {
                    return Ok(done);
                }
                let object = self.top.object;
                if object {
                    self.record(done)?;
                }
                self.skip_space();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.skip_space();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if object => done = self.close(Kind::Object)?,
                    Some(b']') if !object => done = self.close(Kind::Array)?,
                    Some(_) => {
                        let expected = if object { "`,` or `}`" } else { "`,` or `]`" };
                        return Err(self.fault(Fault::Syntax { expected }));
                    }
                    None => return Err(self.fault(Fault::End)),
                }
            }
            next = self.top.child;
        }
    }

    /// The value that starts here: whole, or `None` when it is a container that was opened and is not empty.
    fn value(&mut self, level: Level) -> Result<Option<Value>, ScanError> {
        self.nodes += 1;
        if self.nodes > self.rules.nodes_max {
            return Err(self.fault(Fault::Nodes {
                max: self.rules.nodes_max,
            }));
        }
        let value = match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                self.check_nul(level, &text)?;
                let span = Span {
                    start: text.inner.start - 1,
                    end: text.inner.end + 1,
                };
                Value {
                    span,
                    kind: Kind::String,
                    escaped: text.escaped,
                }
            }
            Some(b'{') => {
                self.open(level, true)?;
                if self.peek() != Some(b'}') {
                    self.key()?;
                    return Ok(None);
                }
                self.close(Kind::Object)?
            }
            Some(b'[') => {
                self.open(level, false)?;
                if self.peek() != Some(b']') {
                    return Ok(None);
                }
                self.close(Kind::Array)?
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal(b"true", Kind::True)?,
            Some(b'f') => self.literal(b"false", Kind::False)?,
            Some(b'n') => self.literal(b"null", Kind::Null)?,
            Some(_) => return Err(self.fault(Fault::Syntax { expected: "a value" })),
            None => return Err(self.fault(Fault::End)),
        };
        Ok(Some(value))
    }

    fn open(&mut self, level: Level, object: bool) -> Result<(), ScanError> {
        if self.outer.len() >= self.rules.depth_max {
            return Err(self.fault(Fault::Depth {
                max: self.rules.depth_max,
            }));
        }
        // Objects inside of an array are no protocol level themselves; only the words of `arguments` reach through.
        let level = if object && level == Level::Filter && !self.top.object && !self.outer.is_empty() {
            Level::Plain
        } else {
            level
        };
        let child = if matches!(level, Level::Arguments | Level::Filter) {
            level
        } else {
            Level::Plain
        };
        let mark = self.keys.mark();
        let around = std::mem::replace(
            &mut self.top,
            Frame {
                start: self.at,
                level,
                object,
                mark,
                child,
                ..Frame::NONE
            },
        );
        self.outer.push(around);
        if object {
            match level {
                Level::Root => self.found.root = Object::default(),
                Level::Body => (self.found.body, self.found.meta) = (Some(Object::default()), None),
                Level::Meta => self.found.meta = Some(Object::default()),
                _ => {}
            }
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// Closes the innermost container at the bracket that is next.
    fn close(&mut self, kind: Kind) -> Result<Value, ScanError> {
        let frame = std::mem::replace(&mut self.top, self.outer.pop().unwrap_or(Frame::NONE));
        self.at += 1;
        let span = Span::new(frame.start, self.at);
        if frame.object {
            if let Some(key) = self.keys.close(self.src, frame.mark) {
                return Err(Fault::Duplicate.at(key.start as usize));
            }
            match frame.level {
                Level::Root => self.found.root.span = span,
                Level::Body => set_span(&mut self.found.body, span),
                Level::Meta => set_span(&mut self.found.meta, span),
                _ => {}
            }
        }
        Ok(Value {
            span,
            kind,
            escaped: false,
        })
    }

    /// A key and its colon, up to the value.
    fn key(&mut self) -> Result<(), ScanError> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => {
                return Err(self.fault(Fault::Syntax {
                    expected: "a member name in double quotes",
                }));
            }
            None => return Err(self.fault(Fault::End)),
        }
        let text = self.string()?;
        self.skip_space();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.fault(Fault::Syntax { expected: "`:`" })),
            None => return Err(self.fault(Fault::End)),
        }
        self.skip_space();
        self.enter(&text)
    }

    /// Checks a key against its object and decides what its value is.
    fn enter(&mut self, text: &Text) -> Result<(), ScanError> {
        let frame = &mut self.top;
        let name = keys::decoded(self.src, text.inner, text.escaped);
        let at = text.inner.start as usize;
        self.found.uris |= keys::names_uris(&name);
        if self.rules.side == Side::Client {
            if frame.level == Level::Plain || frame.level == Level::Arguments {
                // Plain words: any key but a repeated one.
            } else if text.nul {
                return Err(Fault::Nul.at(at));
            } else if let Some(name) = keys::imitated(frame.level, &name) {
                return Err(Fault::CaseVariant { name }.at(at));
            }
            let tolerated = frame.level == Level::Arguments && self.rules.duplicate_arguments;
            if !tolerated && !self.keys.add(self.src, frame.mark, text.inner, text.escaped, &name) {
                return Err(Fault::Duplicate.at(at));
            }
        }
        frame.key = text.inner;
        frame.key_escaped = text.escaped;
        frame.child = match (frame.level, &*name) {
            (Level::Root, b"params" | b"result" | b"error") => Level::Body,
            (Level::Body, b"_meta") => Level::Meta,
            (Level::Body, b"ref") => Level::Reference,
            (Level::Body, b"notifications") => Level::Filter,
            (Level::Body, b"arguments") => Level::Arguments,
            (Level::Arguments | Level::Filter, _) => frame.level,
            _ => Level::Plain,
        };
        Ok(())
    }

    /// Keeps a finished value as a member, if its object is one of the recorded levels.
    fn record(&mut self, value: Value) -> Result<(), ScanError> {
        let frame = &self.top;
        let object = match frame.level {
            Level::Root => &mut self.found.root,
            Level::Body => self.found.body.get_or_insert_default(),
            Level::Meta => self.found.meta.get_or_insert_default(),
            _ => return Ok(()),
        };
        if object.members.len() >= MEMBERS_MAX {
            return Err(Fault::Members { max: MEMBERS_MAX }.at(frame.key.start as usize));
        }
        object.members.push(Member {
            key: frame.key,
            key_escaped: frame.key_escaped,
            value,
        });
        Ok(())
    }

    /// U+0000 is refused where methods, names, addresses and ids stand, and is plain data elsewhere.
    fn check_nul(&self, level: Level, text: &Text) -> Result<(), ScanError> {
        if !text.nul || self.rules.side == Side::Server {
            return Ok(());
        }
        let top = &self.top;
        let here = if self.outer.is_empty() { level } else { top.level };
        let names = match here {
            Level::Root | Level::Reference | Level::Filter => true,
            Level::Body => {
                !self.outer.is_empty() && keys::names_something(&keys::decoded(self.src, top.key, top.key_escaped))
            }
            Level::Meta | Level::Arguments | Level::Plain => false,
        };
        if names {
            Err(Fault::Nul.at(text.inner.start as usize))
        } else {
            Ok(())
        }
    }
}

fn set_span(object: &mut Option<Object>, span: Span) {
    if let Some(object) = object {
        object.span = span;
    }
}
