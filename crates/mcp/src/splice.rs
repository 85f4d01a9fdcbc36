//! Changing a message without touching the rest of it.
//!
//! A proxy that parses and prints again changes numbers, key order and unknown fields. This one notes which ranges
//! become what, and copies everything between them.
//!
//! Members are added and removed per object, because the commas depend on what else happens to the same object:
//! [`Splice::finish`] sees all of it at once. The result of editing valid JSON with valid JSON is always valid JSON.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::json::push_quoted;
use crate::value::{Object, Span};

/// The pending changes of one message.
#[derive(Debug)]
pub struct Splice<'a> {
    src: &'a [u8],
    edits: Vec<Edit<'a>>,
    objects: Vec<ObjectEdit>,
}

#[derive(Debug)]
struct Edit<'a> {
    start: usize,
    end: usize,
    with: Cow<'a, [u8]>,
}

/// The members that one object gains and loses.
#[derive(Debug)]
struct ObjectEdit {
    span: Span,
    /// Each member from the opening quote of its key to the end of its value.
    members: SmallVec<[Span; 8]>,
    removed: SmallVec<[usize; 4]>,
    /// `"key":value`, joined by commas.
    added: Vec<u8>,
}

impl<'a> Splice<'a> {
    /// No changes yet.
    pub fn new(src: &'a [u8]) -> Self {
        Self {
            src,
            edits: Vec::new(),
            objects: Vec::new(),
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
                with: with.into(),
            });
        }
    }

    /// Adds a member behind the others. `value` is JSON; whether the key is there already is for the caller to know.
    pub fn insert(&mut self, object: &Object, key: &str, value: impl Into<Cow<'a, [u8]>>) {
        let value: Cow<'a, [u8]> = value.into();
        let Some(edit) = self.object(object) else { return };
        if !edit.added.is_empty() {
            edit.added.push(b',');
        }
        push_quoted(&mut edit.added, key);
        edit.added.push(b':');
        edit.added.extend_from_slice(&value);
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
        for object in joined(std::mem::take(&mut self.objects)) {
            object.resolve(&mut self.edits);
        }
        // Stable: additions stand before the removal that starts where they stand, and later replacements behind
        // earlier ones. Of equal starts the longer range comes first, except for pure additions.
        self.edits
            .sort_by_key(|edit| (edit.start, edit.end != edit.start, std::cmp::Reverse(edit.end)));
        let grown: usize = self.edits.iter().map(|edit| edit.with.len()).sum();
        let mut out = Vec::with_capacity(self.src.len() + grown);
        let mut copied = 0;
        let mut edits = self.edits.iter().peekable();
        while let Some(edit) = edits.next() {
            let replaced_again = edits
                .peek()
                .is_some_and(|next| next.start == edit.start && next.end == edit.end && edit.end > edit.start);
            if edit.start < copied || replaced_again {
                continue;
            }
            out.extend_from_slice(self.src.get(copied..edit.start).unwrap_or_default());
            out.extend_from_slice(&edit.with);
            copied = edit.end;
        }
        out.extend_from_slice(self.src.get(copied..).unwrap_or_default());
        out
    }

    /// The changes of one object. Changes come object by object, so only the last one is looked at; what belongs
    /// together all the same is joined at the end.
    fn object(&mut self, object: &Object) -> Option<&mut ObjectEdit> {
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
fn joined(mut objects: Vec<ObjectEdit>) -> Vec<ObjectEdit> {
    objects.sort_by_key(|edit| (edit.span.start, edit.span.end));
    objects.dedup_by(|later, first| {
        let same = later.span == first.span;
        if same {
            first.removed.append(&mut later.removed);
            if !first.added.is_empty() && !later.added.is_empty() {
                first.added.push(b',');
            }
            first.added.append(&mut later.added);
        }
        same
    });
    objects
}

impl ObjectEdit {
    fn new(object: &Object) -> Self {
        let members = object
            .members
            .iter()
            .map(|member| Span {
                start: member.key.start.saturating_sub(1),
                end: member.value.span.end,
            })
            .collect();
        Self {
            span: object.span,
            members,
            removed: SmallVec::new(),
            added: Vec::new(),
        }
    }

    /// Turns the changes of this object into ranges.
    fn resolve(mut self, edits: &mut Vec<Edit<'_>>) {
        self.removed.sort_unstable();
        let bounds = (self.members.first().copied(), self.members.last().copied());
        let (Some(first), Some(last)) = bounds else {
            self.add(edits, self.span.start as usize + 1, false);
            return;
        };
        let kept = (0..self.members.len())
            .rev()
            .find(|index| self.removed.binary_search(index).is_err());
        let Some(last_kept) = kept.and_then(|index| self.members.get(index).copied()) else {
            // Nothing stays: what is added takes the place of all that was.
            let with = Cow::Owned(std::mem::take(&mut self.added));
            edits.push(Edit {
                start: first.start as usize,
                end: last.end as usize,
                with,
            });
            return;
        };
        self.remove_runs(edits);
        self.add(edits, last_kept.end as usize, true);
    }

    fn add(&self, edits: &mut Vec<Edit<'_>>, at: usize, comma: bool) {
        if self.added.is_empty() {
            return;
        }
        let mut with = Vec::with_capacity(self.added.len() + 1);
        if comma {
            with.push(b',');
        }
        with.extend_from_slice(&self.added);
        edits.push(Edit {
            start: at,
            end: at,
            with: Cow::Owned(with),
        });
    }

    /// Removes each run of neighbours: with the comma before it, or, at the front, with the comma behind it.
    fn remove_runs(&self, edits: &mut Vec<Edit<'_>>) {
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
                    with: Cow::Borrowed(b""),
                });
            }
            before = Some(*member);
        }
        if let (Some(run), Some(before)) = (run, before) {
            edits.push(Edit {
                start: before.end as usize,
                end: run.end as usize,
                with: Cow::Borrowed(b""),
            });
        }
    }
}

#[cfg(test)]
mod tests;
