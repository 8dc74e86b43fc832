//! The program `teraslice`: reads its arguments, runs a command, reports.

mod args;
mod command;
mod failure;
mod output;
mod progress;
mod screen;
mod summary;
mod table;
mod units;

use std::process::ExitCode;

use clap::Parser as _;
use teraslice_node::exit_code;

fn main() -> ExitCode {
    let arguments = match args::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => {
            // Help and version come this way too; they belong to stdout and are no failure.
            let code = if refused.use_stderr() { exit_code::BAD_JOB } else { exit_code::DONE };
            return refused.print().map_or(exit_code::INTERNAL.into(), |()| code.into());
        }
    };
    match command::execute(arguments) {
        Ok(code) => code.into(),
        Err(failure) => failure.report().into(),
    }
}
