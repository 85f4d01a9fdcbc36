//! The end of the control plane: streams that arrive, are looked at and end.

use std::time::Duration;

use meshgate_sync::proto::{FromControl, FromProxy, from_control, from_proxy};
use meshgate_sync::server::{Next, Said, Unopened};
use prost::Message as _;

use super::{Event, NEVER, VICTIM, Who, World, size};
use crate::plan::Plant;
use crate::wire;

impl World {
    /// A proxy's stream arrives at the control plane.
    pub(super) fn arrive(&mut self, who: Who, stream: u64) {
        if self.proxies[who].stream != stream {
            return;
        }
        let answered = self.now + self.proxies[who].latency;
        if self.plane.server.is_none() {
            return self.at(answered, Event::Lost(who, stream));
        }
        let done = self.machine.work(self.now, wire::HANDSHAKE);
        let hello = self.proxies[who].client.opened(self.now);
        self.book.phase().bytes_up += size(hello.encoded_len());
        let identity = self.proxies[who].identity.clone();
        let Some(server) = &mut self.plane.server else { return };
        match server.open(self.now, &identity, &hello) {
            Ok(opened) => {
                self.book.tell(self.now, 1, who);
                self.book.opened(self.now);
                self.proxies[who].session = Some(opened.id);
                self.by_session.insert(opened.id, who);
                if let Some(own) = self.proxies[who].server {
                    let instance = self.proxies[who].instance;
                    self.plane.place(self.now, own, instance, true);
                    self.settle_tick();
                }
                self.poll(who, done);
            }
            Err(Unopened::Later(later)) => {
                self.book.phase().later += 1;
                let sent = self.machine.send(done, later.encoded_len());
                let arrives = sent + self.proxies[who].latency;
                self.at(arrives, Event::Down(who, stream, later));
            }
            Err(why) => self
                .book
                .find(self.now, format!("`{identity}` was not let in: {why:?}")),
        }
    }

    /// The control plane looks at a stream.
    pub(super) fn next(&mut self, who: Who) {
        let Some(session) = self.proxies[who].session else {
            return;
        };
        let forgotten = self.plan.plant == Some(Plant::Forget) && who == VICTIM && self.now.as_secs() > 60;
        if forgotten {
            return;
        }
        match self.plane.next(self.now, session) {
            None => {}
            Some(Next::Wait(until)) => self.poll(who, until),
            Some(Next::Close(_)) => {
                let (stream, noticed) = (self.proxies[who].stream, self.now + self.proxies[who].latency);
                self.close(who);
                self.at(noticed, Event::Lost(who, stream));
            }
            Some(Next::Send(messages)) => {
                self.send(who, messages);
                self.poll(who, self.now + Duration::from_micros(1));
            }
        }
    }

    pub(super) fn send(&mut self, who: Who, messages: Vec<FromControl>) {
        let part = |message: &FromControl| match &message.message {
            Some(from_control::Message::Part(part)) => Some(part.whole),
            _ => None,
        };
        if let Some(whole) = messages.first().and_then(part) {
            self.machine.work(self.now, wire::PUSH);
            self.plane.pushes += 1;
            let phase = self.book.phase();
            phase.pushes += 1;
            phase.whole += u64::from(whole);
            self.proxies[who].unanswered += 1;
            if self.proxies[who].unanswered > 1 {
                self.book
                    .find(self.now, format!("two changes are on their way to proxy {who}"));
            }
        }
        for message in messages {
            let bytes = message.encoded_len();
            self.book.phase().bytes_down += size(bytes);
            let sent = self.machine.send(self.now, bytes);
            let (stream, arrives) = (self.proxies[who].stream, sent + self.proxies[who].latency);
            self.at(arrives, Event::Down(who, stream, message));
        }
    }

    pub(super) fn up(&mut self, who: Who, stream: u64, message: &FromProxy) {
        if self.proxies[who].stream != stream {
            return;
        }
        let Some(session) = self.proxies[who].session else {
            return;
        };
        if !matches!(message.message, Some(from_proxy::Message::Report(_))) {
            self.proxies[who].unanswered = self.proxies[who].unanswered.saturating_sub(1);
        }
        let Some(server) = &mut self.plane.server else { return };
        match server.received(self.now, session, message) {
            Ok(Said::Refused(_)) => self.book.phase().refused += 1,
            Ok(_) => {}
            Err(_) => {
                let noticed = self.now + self.proxies[who].latency;
                self.close(who);
                return self.at(noticed, Event::Lost(who, stream));
            }
        }
        self.poll(who, self.now);
    }

    /// The timer of changes is set.
    pub(super) fn settle_tick(&mut self) {
        if let Some(due) = self.plane.server.as_ref().and_then(meshgate_sync::Server::due) {
            self.at(due.max(self.now), Event::Tick);
        }
    }

    pub(super) fn tick(&mut self) {
        let Some(server) = &mut self.plane.server else { return };
        for session in server.tick(self.now) {
            if let Some(who) = self.by_session.get(&session).copied() {
                self.poll(who, self.now);
            }
        }
        self.settle_tick();
    }

    pub(super) fn close(&mut self, who: Who) {
        if let Some(session) = self.proxies[who].session.take() {
            self.by_session.remove(&session);
            if let Some(server) = &mut self.plane.server {
                server.close(session);
            }
        }
        self.polls[who] = NEVER;
    }
}
