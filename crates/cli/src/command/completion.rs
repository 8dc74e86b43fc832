//! `teraslice completion`: what a shell needs to complete commands.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use teraslice_node::exit_code;

use crate::{
    args::{Arguments, Output},
    failure::Failure,
    output,
};

/// Prints the script for a shell; returns the exit code.
pub(crate) fn execute(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "teraslice", &mut script);
    output::print(Output::Table, &(), || String::from_utf8_lossy(&script).into_owned())?;
    Ok(exit_code::DONE)
}
