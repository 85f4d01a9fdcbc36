//! `conformance`
use crate::{Failure, place::Place};
#[derive(clap::Args, Default)]
pub(crate) struct Options {}
pub(crate) fn run(_place: &Place, _options: &Options) -> Result<(), Failure> {
    Err("not built yet".to_owned())
}
