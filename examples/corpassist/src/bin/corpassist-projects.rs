//! The program `corpassist-projects`.

use std::io::Error;

use clap::Parser;
use corpassist::projects::{Projects, store::Store};
use corpassist::serve;

/// The project tracker: projects, who leads them and who works on them (an MCP server)
#[derive(Debug, Parser)]
#[command(version)]
struct Program {
    #[command(flatten)]
    serve: serve::Arguments,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments = Program::parse().serve;
    let store = Store::open(&arguments.database).map_err(|cause| {
        Error::other(format!(
            "database `{}` cannot be opened: {cause}",
            arguments.database.display()
        ))
    })?;
    serve::serve(Projects::new(store, arguments.era), arguments.http).await
}
