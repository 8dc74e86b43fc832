//! The commands, one file each, and what they share.

mod aliases;
mod assets;
mod attend;
mod backends;
mod cluster;
mod compile_asset;
mod completion;
mod config;
mod controller;
mod controllers;
mod dead_letters;
mod dry_run;
mod ex;
mod history;
mod jobs;
mod k8s;
mod moving;
mod nodes;
mod resume;
mod role;
mod run;
mod serve;
mod session;
mod signals;
mod sim;
mod tjm;
mod validate;
mod worker;
mod workers;

use std::io::Write as _;

use clap::CommandFactory as _;
use teraslice_node::exit_code;

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
    let session = || Session::start(common.clone());
    let command = match command {
        Some(command) => command,
        None => match role::find(&common)? {
            Some(command) => command,
            None => return help(),
        },
    };
    match command {
        Command::Run(arguments) => run::execute(&session()?, &arguments),
        Command::Validate(arguments) => validate::execute(&session()?, &arguments),
        Command::Resume(arguments) => resume::execute(&session()?, &arguments),
        Command::History(arguments) => history::execute(&session()?, &arguments),
        Command::Assets(command) => assets::execute(&common, &command, session),
        Command::DeadLetters(command) => dead_letters::execute(&session()?, &command),
        Command::Master(arguments) => serve::master(&session()?, &arguments),
        Command::Node(arguments) => serve::node(&session()?, &arguments),
        Command::Import(arguments) => moving::import(&session()?, &arguments),
        Command::Export(arguments) => moving::export(&session()?, &arguments),
        Command::Config(command) => config::execute(&session()?, &command),
        Command::Backends(command) => backends::execute(&command, session),
        Command::Sim(arguments) => sim::execute(&common, &arguments),
        Command::K8s(command) => k8s::execute(&session()?, &command),
        Command::Controller => controller::execute(&session()?),
        Command::Worker => worker::execute(&session()?),
        // Clusters are asked without a configuration.
        Command::Aliases(command) => aliases::execute(&common, &command),
        Command::Jobs(command) => jobs::execute(&common, &command),
        Command::Ex(command) => ex::execute(&common, &command),
        Command::Nodes(command) => nodes::execute(&common, &command),
        Command::Workers(command) => workers::execute(&common, &command),
        Command::Controllers(command) => controllers::execute(&common, &command),
        Command::Tjm(command) => tjm::execute(&common, &command),
        Command::Completion { shell } => completion::execute(shell),
        // Without a configuration: it has nothing to read and nothing to say.
        Command::CompileAsset { arguments } => Ok(compile_asset::execute(&arguments)),
    }
}

/// Prints what the program can be asked for, to somebody who has asked for nothing.
fn help() -> Result<u8, Failure> {
    let text = Arguments::command().render_help();
    std::io::stderr().write_all(text.to_string().as_bytes())?;
    Ok(exit_code::BAD_JOB)
}
