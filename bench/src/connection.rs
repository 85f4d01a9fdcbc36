//! One connection of the load generator: it sends a prepared request, takes the answer, and judges it by its body.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use memchr::memmem::Finder;

use crate::{
    Failure,
    answer::{Arriving, Head},
    requests::Request,
};

const READ_BYTES: usize = 64 * 1024;
/// Where nearly every answer shows what it is looked through for.
const ENDS_BYTES: usize = 4 * 1024;
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A connection and the call that is on it.
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    request: Request,
    arriving: Arriving,
    id: String,
    /// When the call that is under way was due.
    due: Option<Instant>,
}

/// What reading brought.
pub(crate) enum Progress {
    /// Nothing whole yet.
    Waiting,
    /// A right answer to the call that was due then.
    Done(Instant),
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, request: Request) -> Result<Self, Failure> {
        let socket = connect(address)?;
        socket
            .set_nonblocking(true)
            .map_err(|e| format!("cannot set a socket up: {e}"))?;
        Ok(Self {
            socket,
            request,
            arriving: Arriving::default(),
            id: String::new(),
            due: None,
        })
    }

    /// Opens it anew, without a call on it.
    pub(crate) fn again(&mut self) -> Result<(), Failure> {
        let address = self.socket.peer_addr().map_err(|e| format!("no address: {e}"))?;
        *self = Self::open(address, self.request.clone())?;
        Ok(())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.due.is_none()
    }

    /// Sends the request under this id. Its bytes fit any socket buffer, and the one before is answered.
    pub(crate) fn send(&mut self, id: u64, due: Instant) -> Result<(), Failure> {
        self.request.set_id(id);
        self.id = format!(r#""id":{id}"#);
        self.due = Some(due);
        match self.socket.write(&self.request.bytes) {
            Ok(written) if written == self.request.bytes.len() => Ok(()),
            Ok(written) => Err(format!("only {written} bytes of a request could be written")),
            Err(error) => Err(format!("cannot write: {error}")),
        }
    }

    /// Takes what has arrived.
    pub(crate) fn receive(&mut self, room: &mut [u8], expected: &Finder<'_>) -> Result<Progress, Failure> {
        loop {
            let read = match self.socket.read(room) {
                Ok(0) => return Err("the target closed the connection".to_owned()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waiting),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot read: {error}")),
            };
            self.arriving.push(room.get(..read).unwrap_or_default());
            let Some(body) = self.arriving.whole()? else {
                if read < room.len() {
                    return Ok(Progress::Waiting);
                }
                continue;
            };
            judge(body, self.id.as_bytes(), expected)?;
            self.arriving.clear();
            let due = self.due.take().ok_or("an answer that nobody asked for")?;
            return Ok(Progress::Done(due));
        }
    }
}

/// A right answer carries the id of its call and the text that only the upstream can know.
fn judge(body: &[u8], id: &[u8], expected: &Finder<'_>) -> Result<(), Failure> {
    // A gateway may write the id behind a long result, so both ends and then the rest are looked at.
    let begin = body.get(..ENDS_BYTES).unwrap_or(body);
    let end = body.get(body.len().saturating_sub(ENDS_BYTES)..).unwrap_or_default();
    let holds = |find: &dyn Fn(&[u8]) -> bool| [begin, end, body].into_iter().any(find);
    if holds(&|piece| expected.find(piece).is_some()) && holds(&|piece| memchr::memmem::find(piece, id).is_some()) {
        return Ok(());
    }
    let shown: String = String::from_utf8_lossy(body).chars().take(300).collect();
    Err(format!("a wrong answer: {shown}"))
}

/// Room to read into, one for all connections of a process.
pub(crate) fn room() -> Vec<u8> {
    vec![0; READ_BYTES]
}

/// A connection with TCP_NODELAY and a limit on silence.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let failure = |e: std::io::Error| format!("cannot connect to {address}: {e}");
    let socket = TcpStream::connect(address).map_err(failure)?;
    socket.set_nodelay(true).map_err(failure)?;
    socket.set_read_timeout(Some(SILENCE_MAX)).map_err(failure)?;
    Ok(socket)
}

/// One exchange on a blocking connection: the head of the answer, and its whole body unless it is a stream.
pub(crate) fn exchange(socket: &mut TcpStream, request: &[u8]) -> Result<(Head, Vec<u8>), Failure> {
    let failure = |e: std::io::Error| format!("the target does not answer: {e}");
    socket.write_all(request).map_err(failure)?;
    let mut arriving = Arriving::default();
    let mut room = [0; 4096];
    loop {
        let read = socket.read(&mut room).map_err(failure)?;
        if read == 0 {
            return Err("the target closed the connection".to_owned());
        }
        arriving.push(room.get(..read).unwrap_or_default());
        let Some(head) = arriving.head()?.cloned() else {
            continue;
        };
        if head.streamed && head.status == 200 && request.starts_with(b"GET") {
            return Ok((head, Vec::new()));
        }
        if let Some(body) = arriving.whole()? {
            return Ok((head, body.to_vec()));
        }
    }
}
