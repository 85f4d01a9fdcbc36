//! A request on its way, and the row it may stand in.
//!
//! While it stands there nothing of it has left: so a call that is given up meanwhile was never sent, and a server that
//! hangs up leaves it whole for another connection.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use super::super::wire::Wire;
use super::{Conn, Head, Request, SendError};
use crate::row::Lead;

/// A request on its way; dropped, what has not left of it never does.
pub(super) struct Sending<'a> {
    conn: &'a mut Conn,
    sent: &'a mut bool,
    /// The row that this call lets go when its turn comes again.
    lead: Option<Lead>,
    begun: bool,
    interim: usize,
}

impl<'a> Sending<'a> {
    pub(super) fn new(conn: &'a mut Conn, sent: &'a mut bool) -> Self {
        conn.slot.0.asked.fetch_add(1, Ordering::Relaxed);
        Self {
            conn,
            sent,
            lead: None,
            begun: false,
            interim: 0,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, SendError>> {
        self.lead = None;
        if !std::mem::replace(&mut self.begun, true) && self.conn.slot.0.asked.load(Ordering::Relaxed) > 1 {
            self.lead = self.conn.stand(cx);
        }
        self.conn.write_on(cx, self.sent)?;
        let head = ready!(self.conn.poll_head(cx, &mut self.interim));
        // Whatever came, it is no answer to a request that is still here.
        match self.conn.take_back() {
            Some(unsent) => Poll::Ready(Err(SendError::Unsent(Box::new(unsent)))),
            None => Poll::Ready(head.map_err(SendError::Sent)),
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let Self { conn, sent, .. } = self;
        if conn.outgoing.as_ref().is_some_and(|request| request.stands) && conn.take_back().is_none() {
            **sent = true;
            conn.outgoing.take_if(|request| request.stands);
        }
        conn.slot.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Conn {
    /// Lets a short request stand in the row of those that are written together.
    fn stand(&mut self, cx: &Context<'_>) -> Option<Lead> {
        let request = self.outgoing.as_mut()?;
        if request.stands || request.written > 0 || !request.body.is_empty() {
            return None;
        }
        match self.wire.stand(cx, std::mem::take(&mut request.head)) {
            Ok(lead) => {
                request.stands = true;
                lead
            }
            Err(head) => {
                request.head = head;
                None
            }
        }
    }

    /// Takes back a request that stands in a row, unless a byte of it has left.
    fn take_back(&mut self) -> Option<Request> {
        let request = self.outgoing.as_mut().filter(|request| request.stands)?;
        let (head, left) = self.wire.take_back()?;
        (request.head, request.written, request.stands) = (head, left, false);
        if left == 0 { self.outgoing.take() } else { None }
    }
}

impl Request {
    /// The row could not write it.
    pub(super) fn come_back(&mut self, wire: &Wire, sent: &mut bool) {
        self.stands = false;
        if let Some((head, left)) = wire.take_back() {
            (self.head, self.written) = (head, left);
            *sent |= left > 0;
        }
    }
}
