//! The supervisor's life: start the server, wait for one of four ends, leave nothing behind.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, WaitStatus, getpid, pidfd_open, set_child_subreaper, setsid};

use super::{CANNOT_START, COMMAND, LAUNCH, complain, family};

/// How long a server may take to end by itself once its input is closed, and again once it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// The same when nobody waits for it any more.
const HASTE: Duration = Duration::from_secs(1);
/// How often adopted orphans that have died are collected.
const REAP_EVERY: Duration = Duration::from_secs(5);
/// How often the closed streams are looked at while the server ends by itself.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Why the watch is over.
enum End {
    /// The server has ended.
    Exited(WaitStatus),
    /// The gateway has closed the server's input: it may finish.
    InputClosed,
    /// Nobody reads the server's output any more: the gateway is gone, or done with it.
    Abandoned,
}

/// `-- COMMAND [ARG…]`: runs the command and ends when nothing of it is left.
pub(super) fn main(args: &[OsString], command: &[OsString]) -> ExitCode {
    let told = Arc::new(AtomicBool::new(false));
    if let Err(error) = settle(&told) {
        complain(&format!("cannot become a supervisor: {error}"));
        return ExitCode::from(CANNOT_START);
    }
    match start(args, command).and_then(|child| Ok((child, pidfd_open(child, PidfdFlags::empty())?))) {
        Ok((child, exit)) => exit_code(supervise(child, &exit, &told)),
        Err(error) => {
            complain(&format!(
                "cannot start `{}`: {error}",
                command.first().map_or_else(String::new, |c| c.display().to_string())
            ));
            ExitCode::from(CANNOT_START)
        }
    }
}

/// A session of our own, every orphan ours, a name that nobody who kills `meshgate` by name hits.
fn settle(told: &Arc<AtomicBool>) -> std::io::Result<()> {
    // Fails only for a process that leads a group already, which is as good.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    rustix::thread::set_name(c"mcp-supervisor")?;
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(told))?;
    }
    Ok(())
}

fn start(args: &[OsString], command: &[OsString]) -> std::io::Result<Pid> {
    let me = getpid().as_raw_nonzero().to_string();
    let mut launch = Command::new("/proc/self/exe");
    launch
        .args(leading_arguments(args.len()))
        .arg(LAUNCH)
        .arg(me)
        .arg(COMMAND)
        .args(command);
    let child = launch.spawn()?;
    // Only the server holds its output, so that the gateway sees when it is closed. Whether the gateway is there is seen
    // on the standard error.
    let nowhere = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    // Collected by `family::reap`, with all the others.
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::Error::other("no process id"))
}

/// What led this process here (the hidden subcommand), to lead the next one the same way.
fn leading_arguments(own: usize) -> impl Iterator<Item = OsString> {
    let all = std::env::args_os();
    let count = all.len().saturating_sub(1 + own);
    all.skip(1).take(count)
}

fn supervise(child: Pid, exit: &OwnedFd, told: &AtomicBool) -> Option<WaitStatus> {
    match watch(child, exit, told) {
        End::Exited(status) => family::end(child, HASTE, Some(status)),
        End::Abandoned => family::end(child, HASTE, None),
        End::InputClosed => match finish(child, told) {
            Some(status) => family::end(child, HASTE, Some(status)),
            None if abandoned(told) => family::end(child, HASTE, None),
            None => family::end(child, GRACE, None),
        },
    }
}

fn watch(child: Pid, exit: &OwnedFd, told: &AtomicBool) -> End {
    loop {
        let (input, error) = (std::io::stdin(), std::io::stderr());
        // Only hang-ups are asked for, and those are always told.
        let mut ends = [
            PollFd::from_borrowed_fd(input.as_fd(), PollFlags::empty()),
            PollFd::from_borrowed_fd(error.as_fd(), PollFlags::empty()),
            PollFd::from_borrowed_fd(exit.as_fd(), PollFlags::IN),
        ];
        // An interruption is a signal; it is looked at like everything else.
        let _ = poll(&mut ends, timeout(REAP_EVERY).as_ref());
        let input_closed = ends
            .first()
            .is_some_and(|end| end.revents().intersects(PollFlags::HUP | PollFlags::ERR));
        if let Some(status) = family::reap(child) {
            return End::Exited(status);
        }
        if abandoned(told) {
            return End::Abandoned;
        }
        if input_closed {
            return End::InputClosed;
        }
    }
}

/// Waits for a server whose input is closed to end by itself.
fn finish(child: Pid, told: &AtomicBool) -> Option<WaitStatus> {
    let given_up = Instant::now() + GRACE;
    while Instant::now() < given_up && !abandoned(told) {
        if let Some(status) = family::reap(child) {
            return Some(status);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    None
}

/// Whether somebody has told this process to end, or nobody reads what the server and this process complain of.
fn abandoned(told: &AtomicBool) -> bool {
    told.load(Ordering::Relaxed) || unread(std::io::stderr().as_fd())
}

fn unread(stream: BorrowedFd<'_>) -> bool {
    let mut end = [PollFd::from_borrowed_fd(stream, PollFlags::empty())];
    let _ = poll(&mut end, timeout(Duration::ZERO).as_ref());
    end.first().is_some_and(|end| end.revents().contains(PollFlags::ERR))
}

fn timeout(after: Duration) -> Option<Timespec> {
    Timespec::try_from(after).ok()
}

/// The server's own exit code; 128 and the signal's number for one that was killed.
fn exit_code(status: Option<WaitStatus>) -> ExitCode {
    let Some(status) = status.map(|status| ExitStatus::from_raw(status.as_raw())) else {
        return ExitCode::FAILURE;
    };
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
