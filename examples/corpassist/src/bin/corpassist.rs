//! The program `corpassist`: the assistant.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use corpassist::assistant::{Endpoint, Trace, Trouble, ask, show};

/// Part of the question has no answer.
const INCOMPLETE: u8 = 1;
/// The endpoint cannot be asked (`EX_UNAVAILABLE` of sysexits.h).
const UNAVAILABLE: u8 = 69;

/// An assistant that answers questions with the tools of one MCP endpoint
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes:\n  0   answered\n  1   part of the question has no answer\n  2   the \
                                 command line is wrong\n  69  the endpoint cannot be asked"
)]
struct Arguments {
    /// The question
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "What is the Q1 strategy of Project Titan, and who leads it?"
    )]
    ask: String,
    /// The endpoint
    #[arg(
        long,
        value_name = "URL",
        env = "MESHGATE_URL",
        default_value = "http://127.0.0.1:7300/mcp"
    )]
    url: String,
    /// The token of the endpoint; better given in the environment, where other users of the machine do not see it
    #[arg(long, value_name = "TOKEN", env = "MESHGATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the answer as JSON, for programs
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(code) => code,
        Err(trouble) => {
            let _ = writeln!(std::io::stderr(), "error: {trouble}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let endpoint = Arc::new(Endpoint::new(&arguments.url, arguments.token.as_deref(), Trace::new())?);
    let answer = ask(endpoint.clone(), &arguments.ask).await?;
    let shown = if arguments.json {
        format!("{:#}\n", show::json(&answer, &endpoint))
    } else {
        show::text(&answer, &endpoint)
    };
    // A reader that has seen enough closes the pipe; that is no error of ours.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(if answer.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCOMPLETE)
    })
}
