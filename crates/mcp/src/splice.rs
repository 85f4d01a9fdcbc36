//! Changing a message without touching the rest of it.
//!
//! A proxy that parses and prints again changes numbers, key order and unknown fields. This one notes which ranges
//! become what, and copies everything between them.
//!
//! Members are added and removed per object, because the commas depend on what else happens to the same object:
//! [`Splice::finish`] sees all of it at once. The result of editing valid JSON with valid JSON is always valid JSON.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::json::push_quoted;
use crate::value::{Member, Object, Span};

/// The pending changes of one message.
#[derive(Debug)]
pub struct Splice<'a> {
    src: &'a [u8],
    edits: Edits<'a>,
    objects: SmallVec<[ObjectEdit<'a>; 2]>,
}

/// Runs of at least so many bytes are shared and not copied; for shorter ones another piece costs more than the copy.
const SHARED_BYTES_MIN: usize = 4096;

/// A piece of the changed message.
enum Piece<'a> {
    /// A range of the bytes as they were.
    Kept(usize, usize),
    /// Bytes that were put in.
    New(&'a [u8]),
}

/// As many as a call through the gateway has; more go to the heap.
type Edits<'a> = SmallVec<[Edit<'a>; 6]>;

#[derive(Debug)]
struct Edit<'a> {
    start: usize,
    end: usize,
    /// Whether a comma stands before what is put in.
    comma: bool,
    with: Cow<'a, [u8]>,
}

/// The members that one object gains and loses.
#[derive(Debug)]
struct ObjectEdit<'a> {
    span: Span,
    /// From the first member to the last; `None` in an empty object.
    filled: Option<Span>,
    /// Each member from the opening quote of its key to the end of its value; known where one is removed.
    members: SmallVec<[Span; 8]>,
    removed: SmallVec<[usize; 4]>,
    /// `"key":value`, joined by commas.
    added: Cow<'a, [u8]>,
}

impl<'a> Splice<'a> {
    /// No changes yet.
    pub fn new(src: &'a [u8]) -> Self {
        Self {
            src,
            edits: SmallVec::new(),
            objects: SmallVec::new(),
        }
    }

    /// The bytes as they were.
    pub fn src(&self) -> &'a [u8] {
        self.src
    }

    /// Puts other bytes in place of a range. Of two replacements of one range the later stands; a replacement inside
    /// of a range that is itself replaced or removed is dropped with it.
    pub fn replace(&mut self, span: Span, with: impl Into<Cow<'a, [u8]>>) {
        let (start, end) = (span.start as usize, span.end as usize);
        if start <= end && end <= self.src.len() {
            self.edits.push(Edit {
                start,
                end,
                comma: false,
                with: with.into(),
            });
        }
    }

    /// Adds a member behind the others. `value` is JSON; whether the key is there already is for the caller to know.
    pub fn insert(&mut self, object: &Object, key: &str, value: impl Into<Cow<'a, [u8]>>) {
        let value: Cow<'a, [u8]> = value.into();
        let Some(edit) = self.object(object) else { return };
        let added = edit.added.to_mut();
        added.reserve(key.len() + value.len() + 4);
        if !added.is_empty() {
            added.push(b',');
        }
        push_quoted(added, key);
        added.push(b':');
        added.extend_from_slice(&value);
    }

    /// As [`Splice::insert`], for a member that is spelled out already: `"key":value`.
    pub fn insert_member(&mut self, object: &Object, member: impl Into<Cow<'a, [u8]>>) {
        let member: Cow<'a, [u8]> = member.into();
        let Some(edit) = self.object(object) else { return };
        if edit.added.is_empty() {
            edit.added = member;
        } else {
            let added = edit.added.to_mut();
            added.push(b',');
            added.extend_from_slice(&member);
        }
    }

    /// Replaces the value of a member, or adds the member.
    pub fn set(&mut self, object: &Object, key: &str, value: impl Into<Cow<'a, [u8]>>) {
        match object.get(self.src, key) {
            Some(present) => self.replace(present.span, value),
            None => self.insert(object, key, value),
        }
    }

    /// Removes the member at `index` with its comma.
    pub fn remove(&mut self, object: &Object, index: usize) {
        if index >= object.members.len() {
            return;
        }
        let Some(edit) = self.object(object) else { return };
        if edit.members.is_empty() {
            edit.members = object.members.iter().map(whole).collect();
        }
        if !edit.removed.contains(&index) {
            edit.removed.push(index);
        }
    }

    /// Removes a member by name; every one of that name, should a server have repeated it.
    pub fn remove_named(&mut self, object: &Object, key: &str) {
        for (index, member) in object.members.iter().enumerate() {
            if member.is(self.src, key) {
                self.remove(object, index);
            }
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.objects.is_empty()
    }

    /// The changed message.
    pub fn finish(mut self) -> Vec<u8> {
        self.settle();
        let grown: usize = self.edits.iter().map(|edit| edit.with.len() + 1).sum();
        let mut out = Vec::with_capacity(self.src.len() + grown);
        self.each_piece(|piece| match piece {
            Piece::Kept(start, end) => out.extend_from_slice(self.src.get(start..end).unwrap_or_default()),
            Piece::New(bytes) => out.extend_from_slice(bytes),
        });
        out
    }

    /// The changed message in pieces, none of them empty. `whole` holds the bytes as they were: of what stays, long runs are
    /// shared with it and only short ones copied.
    pub fn finish_shared(mut self, whole: &Bytes) -> Vec<Bytes> {
        self.settle();
        let (mut pieces, mut copied) = (Vec::new(), Vec::new());
        self.each_piece(|piece| match piece {
            Piece::Kept(start, end) if end.saturating_sub(start) >= SHARED_BYTES_MIN && end <= whole.len() => {
                if !copied.is_empty() {
                    pieces.push(Bytes::from(std::mem::take(&mut copied)));
                }
                pieces.push(whole.slice(start..end));
            }
            Piece::Kept(start, end) => copied.extend_from_slice(self.src.get(start..end).unwrap_or_default()),
            Piece::New(bytes) => copied.extend_from_slice(bytes),
        });
        if !copied.is_empty() {
            pieces.push(Bytes::from(copied));
        }
        pieces
    }

    /// Turns all changes into ranges, in their order.
    fn settle(&mut self) {
        join(&mut self.objects);
        for object in &mut self.objects {
            object.resolve(&mut self.edits);
        }
        self.objects.clear();
        // Stable: additions stand before the removal that starts where they stand, and later replacements behind
        // earlier ones. Of equal starts the longer range comes first, except for pure additions.
        self.edits
            .sort_by_key(|edit| (edit.start, edit.end != edit.start, std::cmp::Reverse(edit.end)));
    }

    /// Gives the changed message piece by piece.
    fn each_piece(&self, mut take: impl FnMut(Piece<'_>)) {
        let mut copied = 0;
        let mut edits = self.edits.iter().peekable();
        while let Some(edit) = edits.next() {
            let replaced_again = edits
                .peek()
                .is_some_and(|next| next.start == edit.start && next.end == edit.end && edit.end > edit.start);
            if edit.start < copied || replaced_again {
                continue;
            }
            take(Piece::Kept(copied, edit.start));
            if edit.comma {
                take(Piece::New(b","));
            }
            take(Piece::New(&edit.with));
            copied = edit.end;
        }
        take(Piece::Kept(copied, self.src.len()));
    }

    /// The changes of one object. Changes come object by object, so only the last one is looked at; what belongs
    /// together all the same is joined at the end.
    fn object(&mut self, object: &Object) -> Option<&mut ObjectEdit<'a>> {
        if object.span.len() < 2 || object.span.end as usize > self.src.len() {
            return None;
        }
        if self.objects.last().is_none_or(|edit| edit.span != object.span) {
            self.objects.push(ObjectEdit::new(object));
        }
        self.objects.last_mut()
    }
}

/// Joins the changes of the same object.
fn join(objects: &mut SmallVec<[ObjectEdit<'_>; 2]>) {
    if objects.len() < 2 {
        return;
    }
    objects.sort_by_key(|edit| (edit.span.start, edit.span.end));
    objects.dedup_by(|later, first| {
        let same = later.span == first.span;
        if same {
            first.removed.append(&mut later.removed);
            if first.members.is_empty() {
                first.members = std::mem::take(&mut later.members);
            }
            if first.added.is_empty() {
                first.added = std::mem::take(&mut later.added);
            } else if !later.added.is_empty() {
                let added = first.added.to_mut();
                added.push(b',');
                added.extend_from_slice(&later.added);
            }
        }
        same
    });
}

/// A member from the opening quote of its key to the end of its value.
fn whole(member: &Member) -> Span {
    Span {
        start: member.key.start.saturating_sub(1),
        end: member.value.span.end,
    }
}

impl<'a> ObjectEdit<'a> {
    fn new(object: &Object) -> Self {
        let bounds = object.members.first().zip(object.members.last());
        Self {
            span: object.span,
            filled: bounds.map(|(first, last)| Span {
                start: whole(first).start,
                end: whole(last).end,
            }),
            members: SmallVec::new(),
            removed: SmallVec::new(),
            added: Cow::Borrowed(b""),
        }
    }

    /// Turns the changes of this object into ranges.
    fn resolve(&mut self, edits: &mut Edits<'a>) {
        let Some(filled) = self.filled else {
            let inside = self.span.start as usize + 1;
            self.add(edits, inside, false);
            return;
        };
        if self.removed.is_empty() {
            self.add(edits, filled.end as usize, true);
            return;
        }
        self.removed.sort_unstable();
        let kept = (0..self.members.len())
            .rev()
            .find(|index| self.removed.binary_search(index).is_err());
        let Some(last_kept) = kept.and_then(|index| self.members.get(index).copied()) else {
            // Nothing stays: what is added takes the place of all that was.
            edits.push(Edit {
                start: filled.start as usize,
                end: filled.end as usize,
                comma: false,
                with: std::mem::take(&mut self.added),
            });
            return;
        };
        self.remove_runs(edits);
        self.add(edits, last_kept.end as usize, true);
    }

    fn add(&mut self, edits: &mut Edits<'a>, at: usize, comma: bool) {
        if !self.added.is_empty() {
            edits.push(Edit {
                start: at,
                end: at,
                comma,
                with: std::mem::take(&mut self.added),
            });
        }
    }

    /// Removes each run of neighbours: with the comma before it, or, at the front, with the comma behind it.
    fn remove_runs(&self, edits: &mut Edits<'a>) {
        let mut before: Option<Span> = None;
        let mut run: Option<Span> = None;
        for (index, member) in self.members.iter().enumerate() {
            if self.removed.binary_search(&index).is_ok() {
                run = Some(Span {
                    start: run.map_or(member.start, |run| run.start),
                    end: member.end,
                });
                continue;
            }
            if let Some(run) = run.take() {
                let (start, end) = match before {
                    Some(before) => (before.end, run.end),
                    None => (run.start, member.start),
                };
                edits.push(Edit {
                    start: start as usize,
                    end: end as usize,
                    comma: false,
                    with: Cow::Borrowed(b""),
                });
            }
            before = Some(*member);
        }
        if let (Some(run), Some(before)) = (run, before) {
            edits.push(Edit {
                start: before.end as usize,
                end: run.end as usize,
                comma: false,
                with: Cow::Borrowed(b""),
            });
        }
    }
}

#[cfg(test)]
mod tests;
