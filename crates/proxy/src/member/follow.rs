//! Following the control plane: the driver of `meshgate_sync`'s proxy end.
//!
//! The state machine decides what to say and when to try again; this file brings it time, chance, a connection and somebody
//! who takes over what is offered. What is offered is worked out on a thread that may take its time, written to disk, and only
//! then taken over, so that a proxy never serves what it could not start from again.
//!
//! A stream lives no longer than a connection may, and ends when this part can be reached at another address: the next one is
//! opened with the certificate and the address of its moment.

mod force;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshgate_identity::Expect;
use meshgate_identity::manifest::{SnapshotPublicKey, verify};
use meshgate_identity::svid::connection_life;
use meshgate_model::Role;
use meshgate_sync::client::{Client, Due, Heard, Own};
use meshgate_sync::limits::{MESSAGE_BYTES_MAX, OPENING, SNAPSHOT_BYTES_MAX};
use meshgate_sync::message::Report;
use meshgate_sync::proto::sync_client::SyncClient;
use meshgate_sync::proto::{FromControl, FromProxy, from_proxy};
use meshgate_sync::snapshot::{Snapshot, Trust};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::told::Told;
use super::{Member, channel, unix};
use crate::simulated;

/// What is in force, on disk.
const SNAPSHOT: &str = "snapshot";
/// The longest such file that is read: what a snapshot may hold, and what stands around it.
const SNAPSHOT_FILE_BYTES_MAX: u64 = SNAPSHOT_BYTES_MAX as u64 + (1 << 20);
/// Messages that wait for the connection. The state machine has one answer and one report under way at most; more means that
/// nobody reads.
const MESSAGES_MAX: usize = 16;
/// How often is looked for something to report before the next beat.
const LOOK: Duration = Duration::from_millis(250);

/// The assembly that takes over what is told.
pub(crate) trait Take: Send + 'static {
    /// Takes it over. The first time it begins to serve; what is refused then was not taken.
    fn take(&mut self, told: Told) -> Result<(), String>;
    /// The address of its mesh port, once it serves.
    fn mesh_port(&self) -> Option<SocketAddr>;
    /// How it is.
    fn report(&mut self) -> Report;
}

/// What keeps a part told.
pub(crate) struct Follow<T> {
    member: Arc<Member>,
    taker: T,
    role: watch::Receiver<Role>,
    draining: watch::Receiver<bool>,
    /// Whether the control plane has been told that it drains.
    told_draining: watch::Sender<bool>,
    client: Client,
    own: Own,
    reported: Report,
    began: Instant,
    /// When the certificate is to be renewed because the control plane asks for it.
    renew_at: Option<Instant>,
    /// Whether the stream before ended as it should, so that the next one is no news.
    again: bool,
}

/// Why a conversation ended.
enum End {
    /// It is over for good.
    Closing,
    /// Another is to be begun at once.
    Again,
    /// It was lost.
    Lost(String),
}

/// The two ends of a stream.
struct Stream {
    up: mpsc::Sender<FromProxy>,
    down: Streaming<FromControl>,
    /// When it is replaced.
    until: Instant,
}

impl<T: Take> Follow<T> {
    /// Takes over what is on disk, where something is. `told_draining` says when the control plane knows that it drains.
    pub(crate) async fn begin(
        member: Arc<Member>,
        taker: T,
        role: watch::Receiver<Role>,
        draining: watch::Receiver<bool>,
        told_draining: watch::Sender<bool>,
    ) -> Self {
        let own = Own {
            instance: member.instance,
            address: None,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let client = Client::new(own.clone(), trust(&member), None);
        let mut follow = Self {
            member,
            taker,
            role,
            draining,
            told_draining,
            client,
            own,
            reported: Report::default(),
            began: Instant::now(),
            renew_at: None,
            again: false,
        };
        follow.restore().await;
        follow
    }

    async fn restore(&mut self) {
        let (directory, trusted) = (self.member.directory.clone(), trust(&self.member));
        let read = tokio::task::spawn_blocking(move || match directory.read(SNAPSHOT, SNAPSHOT_FILE_BYTES_MAX) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => Snapshot::restore(bytes.to_vec(), &trusted)
                .map(|snapshot| Some(Arc::new(snapshot)))
                .map_err(|refusal| refusal.to_string()),
            Err(error) => Err(error.to_string()),
        });
        let snapshot = match read.await.map_err(|error| error.to_string()).and_then(|read| read) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return,
            Err(why) => {
                tracing::warn!(%why, "the configuration on disk cannot be used; waiting for the control plane");
                return;
            }
        };
        match self.put_in_force(&snapshot, true).await {
            Ok(()) => {
                let position = snapshot.position();
                tracing::info!(identity = %self.member.id(), %position, "started from disk");
                self.client = Client::new(self.own.clone(), trust(&self.member), Some(snapshot));
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "the configuration on disk is refused; waiting for the control plane");
            }
        }
    }

    /// Follows until `closing`.
    pub(crate) async fn run(mut self, closing: CancellationToken) {
        let mut changes = self.member.identity.changes();
        while !closing.is_cancelled() {
            match self.client.due(self.began.elapsed()) {
                Due::Connect => match self.conversation(&closing).await {
                    End::Closing => return,
                    End::Again => {
                        // A stream that ended as it should is no failure that anybody must wait for.
                        self.again = true;
                        self.client = Client::new(self.own.clone(), trust(&self.member), self.client.held().cloned());
                        self.down(None);
                    }
                    End::Lost(why) => {
                        self.again = false;
                        self.client.lost(self.began.elapsed(), simulated::random());
                        self.down(Some(why));
                    }
                },
                Due::Wait(until) => {
                    tokio::select! {
                        () = closing.cancelled() => return,
                        () = sleep_until(self.began + until) => {}
                        Ok(()) = self.role.changed() => self.take_role().await,
                        Ok(()) = changes.changed() => {}
                    }
                }
                Due::Report | Due::Cut(_) => self.client.lost(self.began.elapsed(), simulated::random()),
            }
        }
    }

    fn down(&self, why: Option<String>) {
        if let Some(why) = &why {
            let identity = self.member.id();
            tracing::warn!(%identity, control = self.member.control, %why, "the control plane is away; serving on");
        }
        self.member.note(|standing| {
            if standing.connected || why.is_some() {
                if standing.connected {
                    standing.since = SystemTime::now();
                }
                standing.connected = false;
                standing.why = why;
            }
        });
    }

    async fn conversation(&mut self, closing: &CancellationToken) -> End {
        let opening = closing.run_until_cancelled(timeout(OPENING, self.open()));
        let stream = match opening.await {
            None => return End::Closing,
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(why))) => return End::Lost(why),
            Some(Err(_)) => return End::Lost(format!("no answer within {} s", OPENING.as_secs())),
        };
        self.member.note(|standing| {
            standing.connected = true;
            standing.since = SystemTime::now();
            standing.why = None;
        });
        let (identity, control) = (self.member.id(), &self.member.control);
        if std::mem::take(&mut self.again) {
            tracing::debug!(%identity, control, "following the control plane over another stream");
        } else {
            tracing::info!(%identity, control, "following the control plane");
        }
        self.converse(stream, closing).await
    }

    async fn open(&mut self) -> Result<Stream, String> {
        let (config, svid) = self.member.identity.client_config(&Expect::Control);
        let (channel, own) = channel::open(&self.member.control, config)
            .await
            .map_err(|error| error.to_string())?;
        let address = self.address(own);
        if address != self.own.address {
            self.own.address = address;
            self.client = Client::new(self.own.clone(), trust(&self.member), self.client.held().cloned());
        }
        let (up, mut waiting) = mpsc::channel(MESSAGES_MAX);
        let hello = self.client.opened(self.began.elapsed());
        up.try_send(hello).map_err(|error| error.to_string())?;
        let outgoing = futures_util::stream::poll_fn(move |cx| waiting.poll_recv(cx));
        let mut client = SyncClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let answered = client.stream(outgoing).await;
        let down = answered.map_err(|status| status.message().to_owned())?.into_inner();
        let life = connection_life(SystemTime::now(), [svid.not_after(); 2], simulated::random());
        let until = Instant::now() + life;
        Ok(Stream { up, down, until })
    }

    /// Where this part is reached, as far as that is known.
    fn address(&self, own: IpAddr) -> Option<SocketAddr> {
        let port = self.taker.mesh_port()?;
        let ip = if port.ip().is_unspecified() { own } else { port.ip() };
        Some(self.member.advertise.unwrap_or(SocketAddr::new(ip, port.port())))
    }

    async fn converse(&mut self, mut stream: Stream, closing: &CancellationToken) -> End {
        self.reported = self.report();
        if let Err(why) = self.tell(&stream) {
            return End::Lost(why);
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let until = match self.client.due(self.began.elapsed()) {
                Due::Wait(until) => self.began + until,
                Due::Report => {
                    self.reported = self.report();
                    if let Err(why) = self.tell(&stream) {
                        return End::Lost(why);
                    }
                    continue;
                }
                Due::Cut(fault) => return End::Lost(fault.to_string()),
                Due::Connect => return End::Again,
            };
            let done = tokio::select! {
                () = closing.cancelled() => return End::Closing,
                heard = stream.down.message() => match heard {
                    Ok(Some(message)) => self.hear(message, &stream).await,
                    Ok(None) => Err("the control plane has ended the stream".to_owned()),
                    Err(status) => Err(status.message().to_owned()),
                },
                () = sleep_until(until) => Ok(()),
                () = sleep_until(stream.until) => return End::Again,
                _ = look.tick() => self.look(&stream),
                Ok(()) = self.draining.changed() => self.look(&stream),
                Ok(()) = self.role.changed() => {
                    self.take_role().await;
                    Ok(())
                }
            };
            match done {
                Ok(()) if self.own.address.is_none() && self.taker.mesh_port().is_some() => return End::Again,
                Ok(()) => {}
                Err(why) => return End::Lost(why),
            }
        }
    }

    /// Reports when there is something that the control plane should not wait for.
    fn look(&mut self, stream: &Stream) -> Result<(), String> {
        if self.renew_at.is_some_and(|at| at <= Instant::now()) {
            self.renew_at = None;
            self.member.hasten.notify_one();
        }
        let now = self.report();
        let news = Report {
            in_flight: self.reported.in_flight,
            ..now.clone()
        };
        if news == self.reported {
            return Ok(());
        }
        self.reported = now;
        self.tell(stream)
    }

    fn report(&mut self) -> Report {
        Report {
            draining: *self.draining.borrow(),
            certificate_ends: Some(unix(self.member.identity.current().not_after())),
            ..self.taker.report()
        }
    }

    fn tell(&mut self, stream: &Stream) -> Result<(), String> {
        let report = self.client.report(self.began.elapsed(), &self.reported);
        send(stream, report)?;
        if self.reported.draining {
            self.told_draining.send_replace(true);
        }
        Ok(())
    }

    async fn hear(&mut self, message: FromControl, stream: &Stream) -> Result<(), String> {
        match self.client.received(self.began.elapsed(), message, simulated::random()) {
            Heard::Nothing => Ok(()),
            Heard::Send(answer) => {
                self.note_refusal(&answer);
                send(stream, answer)
            }
            Heard::Renew(after) => {
                self.renew_at = Some(Instant::now() + after);
                Ok(())
            }
            Heard::Cut(fault) => Err(fault.to_string()),
            Heard::Offer(offer) => {
                let result = self.take(&offer).await;
                match self.client.settled(self.began.elapsed(), &offer, result) {
                    Some(answer) => send(stream, answer),
                    None => Ok(()),
                }
            }
        }
    }

    /// What was refused before it was worth working out: not signed, not for this part, not what its manifest lists.
    fn note_refusal(&self, answer: &FromProxy) {
        let Some(from_proxy::Message::Nack(nack)) = &answer.message else {
            return;
        };
        let resource = nack.resource.as_ref().map_or("", |resource| resource.name.as_str());
        let why = &nack.message;
        tracing::error!(identity = %self.member.id(), resource, %why, "refused; what was served is served on");
        let told = if resource.is_empty() {
            why.clone()
        } else {
            format!("{resource}: {why}")
        };
        self.member.note(|standing| standing.refused = Some(told));
    }
}

fn send(stream: &Stream, message: FromProxy) -> Result<(), String> {
    stream
        .up
        .try_send(message)
        .map_err(|_| "the control plane does not read what it is told".to_owned())
}

/// What a snapshot must be for this member to take it.
fn trust(member: &Member) -> Trust {
    let keys = member
        .identity
        .bundle()
        .snapshot_keys()
        .iter()
        .map(|key| *key.as_bytes())
        .collect();
    Trust {
        identity: member.id(),
        floor: *member.floor.lock(),
        keys,
        verify: |key, message, signature| {
            SnapshotPublicKey::from_bytes(key).is_ok_and(|key| verify(&[key], message, signature).is_ok())
        },
    }
}
