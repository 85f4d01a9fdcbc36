//! Several programs of somebody else as one target: a pair of proxies is two of them.

use std::{path::PathBuf, time::Duration};

use crate::{
    Failure,
    running::{Core, Running},
};

const LOOK: Duration = Duration::from_millis(50);
/// Between the words of one program and those of the next.
const NEXT: &str = "++";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Programs with their arguments, `++` between one and the next
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs them until one ends, or until it is ended; the others end with it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let core = Core {
        number: None,
        realtime: false,
    };
    let mut running = Vec::new();
    for words in options.words.split(|word| word == NEXT) {
        let (program, arguments) = words.split_first().ok_or("a program without a name")?;
        let command = core.command(&PathBuf::from(program), arguments);
        running.push(Running::start(command, program)?);
    }
    loop {
        running.iter_mut().try_for_each(Running::is_alive)?;
        std::thread::sleep(LOOK);
    }
}
