//! The program `corpassist-documents`.

use std::io::Error;

use clap::Parser;
use corpassist::documents::{Documents, store::Store};
use corpassist::serve;

/// The document repository: search, summarise and read (an MCP server)
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
    serve::serve(Documents::new(store, arguments.era), arguments.http).await
}
