//! The small process between the gateway and a server that runs as its child.
//!
//! A server started as a child may fork twice, start its own session, ignore the end of its input and every polite
//! signal. A gateway that is killed cannot clean up after it. So each such server runs under this supervisor: our own
//! binary executed again, in a session of its own, adopting every orphan below it. It notices that the gateway is gone
//! because nobody reads its standard output and error any more, and then leaves no descendant alive.
//!
//! The supervisor is not in the path of the bytes: the server inherits its standard streams. It has no runtime and no
//! threads. Between it and the server there is one more `exec` of our binary ([`launch`]), because the limits of the
//! server and its death signal can only be set by the process that becomes the server.
//!
//! Left to others: memory and process counts (the count limit of the kernel is per user, not per server; a cgroup is
//! the place for both).

mod family;
mod launch;
pub(crate) mod orphans;
mod watch;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

/// The hidden subcommand of the `meshgate` binary that leads to [`main`].
pub const SUBCOMMAND: &str = "supervise-child";
/// Marks the second `exec`.
const LAUNCH: &str = "--launch";
/// Stands before the command.
const COMMAND: &str = "--";
/// Exit code of a supervisor that could not start the command, as shells have it.
pub const CANNOT_START: u8 = 127;

/// How the supervisor is started: a program and the arguments that lead it to [`main`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorProgram {
    /// The program.
    pub path: PathBuf,
    /// Arguments before our own.
    pub args: Vec<OsString>,
}

impl Default for SupervisorProgram {
    /// The running binary itself, even after its file has been replaced by a newer one.
    fn default() -> Self {
        Self {
            path: PathBuf::from("/proc/self/exe"),
            args: vec![SUBCOMMAND.into()],
        }
    }
}

impl SupervisorProgram {
    /// The arguments that make the program supervise `command`.
    pub(crate) fn arguments<'a>(&'a self, command: &'a OsStr, args: &'a [OsString]) -> impl Iterator<Item = &'a OsStr> {
        let ours = self.args.iter().map(OsString::as_os_str);
        ours.chain([OsStr::new(COMMAND), command])
            .chain(args.iter().map(OsString::as_os_str))
    }
}

/// Closes this process to the children it will start: they run as the same user and could read its environment, its
/// memory and its open files from `/proc` otherwise. It leaves no core dump from then on either. A child that runs as
/// root reads everything all the same.
pub fn close_to_children() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The supervisor, and the step between it and the server. Takes the arguments after the hidden subcommand:
/// `-- COMMAND [ARG…]`. Must be called before any thread exists.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.split_first() {
        Some((mark, rest)) if mark == LAUNCH => launch::main(rest),
        Some((mark, command)) if mark == COMMAND && !command.is_empty() => watch::main(&args, command),
        _ => {
            complain("this command is for the gateway itself; it takes `-- COMMAND [ARG…]`");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// One line on the standard error that the gateway reads.
fn complain(message: &str) {
    use std::io::Write as _;
    // Nobody may be reading; there is nothing else to tell.
    let _ = writeln!(std::io::stderr(), "meshgate supervisor: {message}");
}
