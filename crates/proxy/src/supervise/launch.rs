//! The last step before a server: the process that becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};

use super::{CANNOT_START, COMMAND, complain};

/// Open files of a server: enough for the runtimes servers are written in, too few to starve the machine.
const FILES_MAX: u64 = 1024;

/// `PARENT -- COMMAND [ARG…]`: puts the limits on this process and becomes the command.
pub(super) fn main(args: &[OsString]) -> ExitCode {
    let [parent, mark, command, rest @ ..] = args else {
        return refuse("malformed arguments");
    };
    if mark != COMMAND {
        return refuse("malformed arguments");
    }
    if let Err(error) = confine(parent) {
        return refuse(&format!("cannot confine the server: {error}"));
    }
    let error = Command::new(command).args(rest).exec();
    refuse(&format!("cannot start `{}`: {error}", command.display()))
}

fn confine(parent: &OsString) -> std::io::Result<()> {
    // Should the supervisor itself be killed, the server goes with it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let expected = parent.to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    if getppid() != expected {
        return Err(std::io::Error::other("the supervisor is gone"));
    }
    rustix::thread::set_no_new_privs(true)?;
    // The gateway does without huge pages and children inherit that; whether the server wants them is its own affair.
    let _ = rustix::thread::disable_transparent_huge_pages(false);
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, FILES_MAX)?;
    Ok(())
}

/// Lowers a limit, softly and for good; never raises it.
fn lower(resource: Resource, to: u64) -> std::io::Result<()> {
    let now = getrlimit(resource);
    let least = |limit: Option<u64>| Some(limit.map_or(to, |limit| limit.min(to)));
    setrlimit(
        resource,
        Rlimit {
            current: least(now.current),
            maximum: least(now.maximum),
        },
    )?;
    Ok(())
}

fn refuse(why: &str) -> ExitCode {
    complain(why);
    ExitCode::from(CANNOT_START)
}
