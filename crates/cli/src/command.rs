//! The commands, one file each, and what they share.

mod assets;
mod attend;
mod compile_asset;
mod dead_letters;
mod dry_run;
mod history;
mod resume;
mod run;
mod session;
mod signals;
mod validate;
mod worker;

use crate::{
    args::{Arguments, Command},
    failure::Failure,
};

use session::Session;

/// Runs a command and returns the exit code.
///
/// # Errors
///
/// Whatever ends the command early.
pub(crate) fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let Arguments { command, common } = arguments;
    let session = || Session::start(common);
    match command {
        Command::Run(arguments) => run::execute(&session()?, &arguments),
        Command::Validate(arguments) => validate::execute(&session()?, &arguments),
        Command::Resume(arguments) => resume::execute(&session()?, &arguments),
        Command::History(arguments) => history::execute(&session()?, &arguments),
        Command::Assets(command) => assets::execute(&session()?, &command),
        Command::DeadLetters(command) => dead_letters::execute(&session()?, &command),
        Command::Worker => worker::execute(&session()?),
        // Without a configuration: it has nothing to read and nothing to say.
        Command::CompileAsset { arguments } => Ok(compile_asset::execute(&arguments)),
    }
}
