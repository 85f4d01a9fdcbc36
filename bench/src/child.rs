//! A server over standard input and output, as cheap as one can be, and the least that anybody must do to call it.
//!
//! What a gateway costs in front of a child process is told by two loops over the same child: one that writes a line and
//! waits for its answer, as simple programs do, and one that keeps many calls under way.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Failure,
    envelope::{Arguments, Envelope},
    requests::{FIRST_ID, Peer, Protocol, Workload},
    upstream,
};

const READ_BYTES: usize = 64 * 1024;

#[derive(clap::Args)]
pub(crate) struct ChildOptions {
    /// The revision it speaks
    #[arg(long, value_enum, default_value = "modern")]
    protocol: Protocol,
    /// End at the first call, without an answer
    #[arg(long)]
    crash: bool,
}

/// Answers lines until standard input closes.
pub(crate) fn run(options: &ChildOptions) -> Result<(), Failure> {
    let list = upstream::own_list();
    let failure = |e: std::io::Error| format!("the pipe broke: {e}");
    let mut input = BufReader::with_capacity(READ_BYTES, std::io::stdin().lock());
    let mut output = std::io::stdout().lock();
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(failure)? == 0 {
            return Ok(());
        }
        if let Some(envelope) = Envelope::read(&line) {
            if options.crash && envelope.method == "tools/call" {
                return Err("crashed as it was told to".to_owned());
            }
            answer(options.protocol, &list, &envelope, &mut answers);
        }
        // Written when there is nothing more to read: as many answers at once as there were calls.
        if input.buffer().is_empty() {
            if output.write_all(&answers).and_then(|()| output.flush()).is_err() {
                // Whoever called has left.
                return Ok(());
            }
            answers.clear();
        }
    }
}

fn answer(protocol: Protocol, list: &[u8], envelope: &Envelope<'_>, answers: &mut Vec<u8>) {
    let Some(id) = envelope.id else { return };
    let mut put = |kind: &str, value: &[u8]| {
        answers.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        answers.extend_from_slice(id.get().as_bytes());
        answers.extend_from_slice(format!(r#","{kind}":"#).as_bytes());
        answers.extend_from_slice(value);
        answers.extend_from_slice(b"}\n");
    };
    match (envelope.method.as_ref(), protocol) {
        ("tools/call", _) => {
            let arguments = envelope.params().arguments;
            let text = arguments
                .and_then(|arguments| serde_json::from_str::<Arguments<'_>>(arguments.get()).ok())
                .and_then(|arguments| arguments.text)
                .map_or("\"\"", |text| text.get());
            let result = format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":{text}}}]}}"#);
            put("result", result.as_bytes());
        }
        ("tools/list", _) => put("result", list),
        ("server/discover", Protocol::Modern) => put("result", upstream::DISCOVER.as_bytes()),
        ("initialize", Protocol::Session) => put("result", upstream::INITIALIZE.as_bytes()),
        ("ping", _) => put("result", b"{}"),
        _ => put("error", br#"{"code":-32601,"message":"method not found"}"#),
    }
}

#[derive(clap::Args)]
pub(crate) struct LoopOptions {
    /// Calls under way at once
    #[arg(long, default_value_t = 1)]
    outstanding: u64,
    /// How long calls are sent
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// Calls a child of its own and prints the calls per second.
pub(crate) fn run_loop(options: &LoopOptions) -> Result<(), Failure> {
    let ourselves = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let mut child = Command::new(ourselves)
        .arg("child")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start a child: {e}"))?;
    let rate = drive(&mut child, options);
    drop(child.stdin.take());
    let _ = child.wait();
    println!("{}", rate?);
    Ok(())
}

fn drive(child: &mut Child, options: &LoopOptions) -> Result<f64, Failure> {
    let input = child.stdin.take().ok_or("no input to write")?;
    let output = child.stdout.take().ok_or("no output to read")?;
    let mut pipe = Pipe {
        input,
        output,
        line: Peer::line(Workload::Echo),
        next_id: FIRST_ID,
        room: vec![0; READ_BYTES],
    };
    let length = Duration::from_secs_f64(options.seconds.clamp(0.1, 600.0));
    let start = Instant::now();
    let mut answered = 0;
    pipe.call(options.outstanding.max(1))?;
    while start.elapsed() < length {
        let came = pipe.answers()?;
        answered += came;
        pipe.call(came)?;
    }
    Ok(answered as f64 / start.elapsed().as_secs_f64())
}

struct Pipe {
    input: ChildStdin,
    output: ChildStdout,
    line: Vec<u8>,
    next_id: u64,
    room: Vec<u8>,
}

impl Pipe {
    /// Writes so many calls at once.
    fn call(&mut self, count: u64) -> Result<(), Failure> {
        let mut lines = Vec::with_capacity(self.line.len() * count as usize);
        for _ in 0..count {
            let from = FIRST_ID.to_string();
            let at = memchr::memmem::find(&self.line, from.as_bytes()).unwrap_or_default();
            let begin = lines.len() + at;
            lines.extend_from_slice(&self.line);
            if let Some(place) = lines.get_mut(begin..begin + from.len()) {
                place.copy_from_slice(self.next_id.to_string().as_bytes());
            }
            self.next_id += 1;
        }
        self.input
            .write_all(&lines)
            .map_err(|e| format!("cannot write to the child: {e}"))
    }

    /// Waits for answers and counts them.
    fn answers(&mut self) -> Result<u64, Failure> {
        let read = self.output.read(&mut self.room);
        let read = read.map_err(|e| format!("cannot read from the child: {e}"))?;
        let came = self.room.get(..read).unwrap_or_default();
        match memchr::memchr_iter(b'\n', came).count() {
            0 if came.is_empty() => Err("the child has ended".to_owned()),
            count => Ok(count as u64),
        }
    }
}
