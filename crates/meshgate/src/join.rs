//! `meshgate join-token`: what one part may join the mesh with, once.
//!
//! Standard output gets the token and nothing else, so that it goes into a file or another program without passing a
//! screen; what is to be known about it is on standard error.

use std::path::Path;
use std::process::ExitCode;

use meshgate_control::shapes::{JoinTokenMade, JoinTokenOrder};
use meshgate_model::Part;

use crate::api::Api;
use crate::apply::body;
use crate::cli::{JoinTokenArgs, Output};
use crate::client::block_on;
use crate::exit::Failure;
use crate::out;
use crate::status::{ago, json};

/// Asks and prints.
pub(crate) fn run(args: &JoinTokenArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let part = match (&args.gateway, &args.server) {
        (Some(gateway), _) => Part::Gateway(gateway.as_str().into()),
        (None, server) => Part::Server {
            server: server.as_deref().unwrap_or_default().into(),
            version: args.version.as_str().into(),
        },
    };
    let wanted = JoinTokenOrder {
        part: part.to_string().trim_start_matches('/').to_owned(),
        life_seconds: Some(args.life.as_secs()),
    };
    let api = Api::find(&args.ask.control, state)?;
    let made: JoinTokenMade = block_on(api.tell("/v1/join-tokens", body(&wanted)?))?;
    match args.ask.output {
        Output::Json => out::print(&json(&made)?),
        Output::Text => {
            out::print(&made.token);
            out::note(&format!(
                "good once, for {}, for {}; whoever has it may be that part",
                ago(args.life.as_secs()),
                made.identity
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
