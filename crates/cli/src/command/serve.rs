//! `teraslice master` and `teraslice node`: the long-running roles.

use std::ffi::OsString;

use teraslice_core::context::Context;
use teraslice_node::{
    cluster::{
        identity,
        master::{Master, MasterError, ProcessCommand},
        node::{Node, NodeError, NodeOptions},
        shutdown::Shutdown,
    },
    exit_code,
};
use tokio::runtime::Runtime;

use super::{
    session::{Session, program},
    signals::Signals,
};
use crate::{args::roles, failure::Failure, output};

/// Threads for what blocks: checks of jobs, compiling, files.
const BLOCKING_THREADS_MAX: usize = 64;

/// What is to be served.
struct Roles {
    has_master: bool,
    has_node: bool,
}

/// Serves the API, and a node too if that is asked for; returns the exit code.
pub(crate) fn master(session: &Session, arguments: &roles::Master) -> Result<u8, Failure> {
    let roles = Roles { has_master: true, has_node: arguments.node };
    serve(session, &roles, &arguments.ending, &arguments.logs)
}

/// Joins a master, or runs it too if the configuration says `master: true`; returns the exit code.
pub(crate) fn node(session: &Session, arguments: &roles::Node) -> Result<u8, Failure> {
    let config = session.parts.config();
    if let Some(name) = &arguments.secret_of {
        let key = identity::cluster_key(config, &session.state_directory()?).map_err(of_config)?;
        output::write_line(key.node(name).expose())?;
        return Ok(exit_code::DONE);
    }
    let roles = Roles { has_master: config.cluster.is_master, has_node: true };
    serve(session, &roles, &arguments.ending, &arguments.logs)
}

fn serve(
    session: &Session,
    roles: &Roles,
    ending: &roles::Ending,
    logs: &roles::Logs,
) -> Result<u8, Failure> {
    let _traces =
        session.start_service_log(if roles.has_master { "cluster_master" } else { "node_master" })?;
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let shutdown = Shutdown::new(ending.terminate);
        let serving = Box::pin(run(session, roles, logs, &shutdown));
        tokio::pin!(serving);
        let mut is_asked = false;
        loop {
            tokio::select! {
                served = &mut serving => return served,
                () = signals.next() => {
                    if std::mem::replace(&mut is_asked, true) {
                        return Ok(());
                    }
                    shutdown.ask();
                }
            }
        }
    });
    runtime.shutdown_background();
    served.map(|()| exit_code::DONE)
}

async fn run(
    session: &Session,
    roles: &Roles,
    logs: &roles::Logs,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let context = Context::system();
    let state_directory = session.state_directory()?;
    let master = async {
        if !roles.has_master {
            return Ok(());
        }
        let command = ProcessCommand { program: program()?, arguments: session.child_arguments() };
        let started = Master::start(&session.parts, &state_directory, roles.has_node, command, &context);
        let master = Box::pin(started).await.map_err(of_master)?;
        let scheme = if session.parts.config().cluster.tls.is_some() { "https" } else { "http" };
        session.screen.say(&format!("the API is at {scheme}://{}", master.address()));
        master.run(shutdown).await.map_err(of_master)
    };
    let node = async {
        if !roles.has_node {
            return Ok(());
        }
        let options = NodeOptions {
            program: program()?,
            arguments: session.child_arguments().into_iter().map(OsString::from).collect(),
            run_directory: state_directory.join("run"),
            logs: logs.log_dir.clone(),
        };
        let node = Box::pin(Node::open(&session.parts, options, &context)).await.map_err(of_node)?;
        Box::pin(node.run(shutdown)).await.map_err(of_node)
    };
    if roles.has_master && roles.has_node {
        // The key that the node shows is the master's: it has to be there first.
        identity::cluster_key(session.parts.config(), &state_directory).map_err(of_config)?;
    }
    tokio::try_join!(master, node).map(|_| ())
}

fn runtime() -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX);
    builder.build().map_err(|error| {
        Failure::new(exit_code::INTERNAL, anyhow::Error::new(error).context("failed to start the runtime"))
    })
}

fn of_config(error: identity::IdentityError) -> Failure {
    Failure::new(exit_code::BAD_CONFIG, error)
}

fn of_master(error: MasterError) -> Failure {
    let code = match &error {
        MasterError::Identity(_) | MasterError::Listen { .. } | MasterError::Kubernetes(_) => {
            exit_code::BAD_CONFIG
        }
        MasterError::Engine(_) | MasterError::Replaced => exit_code::FENCED,
        MasterError::Serve(_) => exit_code::INTERNAL,
        MasterError::Open(_) | MasterError::Store(_) | MasterError::File { .. } | MasterError::Library(_) => {
            exit_code::STATE
        }
    };
    let hint = match &error {
        MasterError::Open(error) => Some(error.hint()),
        MasterError::Listen { .. } => Some("is another master running? see `port` and `bind`".to_owned()),
        _ => None,
    };
    let failure = Failure::new(code, error);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

fn of_node(error: NodeError) -> Failure {
    let code = match &error {
        NodeError::Identity(_) | NodeError::Refused(_) => exit_code::BAD_CONFIG,
        NodeError::Assets { .. } => exit_code::STATE,
        NodeError::Processes(_) => exit_code::INTERNAL,
    };
    let is_unknown = matches!(&error, NodeError::Identity(identity::IdentityError::NoSecret { .. }));
    let failure = Failure::new(code, error);
    if is_unknown {
        failure.with_hint(
            "run `teraslice node --secret-of NAME` where the master runs, and set teraslice.node_secret here",
        )
    } else {
        failure
    }
}
