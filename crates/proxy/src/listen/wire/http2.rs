//! Counts the frames of an HTTP/2 connection, so that cheap frames cannot buy expensive work.
//!
//! Every known flood of HTTP/2 is legal frame by frame: open and reset streams as fast as the line allows, send settings,
//! pings, windows of one byte, header blocks that never end. Only their rate gives them away. A rate alone would also
//! hit an honest client that downloads much, for it must answer our DATA with WINDOW_UPDATEs; so frames we send earn it
//! frames it may send back.

use tokio::time::Instant;

use super::Breach;
use super::http1::Seen;
use super::pace::Bucket;
use crate::limits::Limits;

/// Bytes of a frame's head.
const FRAME_HEAD: usize = 9;
/// What a connection begins with; `sniff` has read it.
const PREFACE: usize = super::PREFACE.len();
/// DATA shorter than this, unless it ends its stream, moves less than it costs, whoever sends it.
const DATA_WORTH: usize = 32;
/// Frames that one DATA frame of ours may cause: a window for the stream, one for the connection, a ping to measure.
const ANSWERS_TO_DATA: u32 = 3;
/// Frames that one request may bring with it.
const FRAMES_OF_REQUEST: u32 = 2;
/// What can be earned ahead.
const EARNED_MAX: u32 = 4096;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The machine.
#[derive(Debug)]
pub(super) struct Http2 {
    /// Bytes that pass before the next frame's head.
    skip: usize,
    /// The header block that is not complete: its bytes and its CONTINUATION frames.
    block: Option<(usize, usize)>,
    block_bytes_max: usize,
    continuations_max: usize,
    resets: Bucket,
    control: Bucket,
    /// Control frames the client has earned.
    earned: u32,
    sent: Sent,
}

/// Follows the frames that we send.
#[derive(Debug, Default)]
struct Sent {
    head: [u8; FRAME_HEAD],
    filled: usize,
    skip: usize,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, ..] = bytes.get(..FRAME_HEAD)? else {
            return None;
        };
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
        })
    }

    /// Of DATA.
    fn is_worth_its_cost(self) -> bool {
        self.has(END_STREAM) || (self.length >= DATA_WORTH && !self.has(PADDED))
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Http2 {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            skip: PREFACE,
            block: None,
            block_bytes_max: limits.h2_header_block_bytes,
            continuations_max: limits.h2_continuations,
            resets: Bucket::new(limits.h2_resets_per_second, limits.h2_resets, now),
            control: Bucket::new(limits.h2_control_frames_per_second, limits.h2_control_frames, now),
            earned: 0,
            sent: Sent::default(),
        }
    }

    /// Looks at bytes: those that did not pass last time (a part of a frame's head), then those that are new.
    pub(super) fn follow(&mut self, bytes: &[u8], now: Instant) -> Seen {
        let mut pass = 0;
        loop {
            let rest = bytes.get(pass..).unwrap_or_default();
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            pass += skipped;
            let Some(frame) = rest.get(skipped..).and_then(Frame::read) else {
                return Seen { pass, breach: None };
            };
            if let Err(breach) = self.count(frame, now) {
                return Seen {
                    pass,
                    breach: Some(breach),
                };
            }
            pass += FRAME_HEAD;
            self.skip = frame.length;
        }
    }

    /// Looks at bytes that we send: how many frames among them carry a part of an answer.
    pub(super) fn follow_sent(&mut self, bytes: &[u8]) -> u64 {
        let (parts, asking) = self.sent.follow(bytes);
        let earned = parts.saturating_mul(ANSWERS_TO_DATA).saturating_add(asking);
        self.earned = self.earned.saturating_add(earned).min(EARNED_MAX);
        u64::from(parts)
    }

    fn count(&mut self, frame: Frame, now: Instant) -> Result<(), Breach> {
        match frame.kind {
            DATA if frame.is_worth_its_cost() => Ok(()),
            HEADERS => {
                self.earned = self.earned.saturating_add(FRAMES_OF_REQUEST).min(EARNED_MAX);
                self.block(frame, 0, 0)
            }
            RST_STREAM if self.resets.take(now) => Ok(()),
            RST_STREAM => Err(Breach::Flood("streams are reset too fast")),
            CONTINUATION => match self.block {
                Some((bytes, continuations)) => self.block(frame, bytes, continuations + 1),
                None => Err(Breach::Malformed("a continuation of nothing")),
            },
            _ => self.control(now),
        }
    }

    fn control(&mut self, now: Instant) -> Result<(), Breach> {
        if self.earned > 0 {
            self.earned -= 1;
            return Ok(());
        }
        self.control
            .take(now)
            .then_some(())
            .ok_or(Breach::Flood("frames that carry nothing come too fast"))
    }

    fn block(&mut self, frame: Frame, before: usize, continuations: usize) -> Result<(), Breach> {
        let bytes = before + frame.length;
        if bytes > self.block_bytes_max || continuations > self.continuations_max {
            return Err(Breach::Flood("a header block is too long"));
        }
        self.block = (!frame.has(END_HEADERS)).then_some((bytes, continuations));
        Ok(())
    }
}

impl Sent {
    /// How many of the frames that begin in these bytes are DATA, and how many want an acknowledgement.
    fn follow(&mut self, mut bytes: &[u8]) -> (u32, u32) {
        let (mut parts, mut asking) = (0, 0);
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return (parts, asking);
            }
            let n = (FRAME_HEAD - self.filled).min(bytes.len());
            let (begin, rest) = bytes.split_at(n);
            if let Some(room) = self.head.get_mut(self.filled..self.filled + n) {
                room.copy_from_slice(begin);
            }
            self.filled += n;
            bytes = rest;
            if self.filled < FRAME_HEAD {
                return (parts, asking);
            }
            self.filled = 0;
            let Some(frame) = Frame::read(&self.head) else {
                return (parts, asking);
            };
            self.skip = frame.length;
            match frame.kind {
                DATA if frame.is_worth_its_cost() => parts += 1,
                SETTINGS | PING if !frame.has(ACK) => asking += 1,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
