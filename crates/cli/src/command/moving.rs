//! `teraslice import`, `teraslice export`: jobs and executions from one cluster's state into another's.

use teraslice_core::context::Context;
use teraslice_node::{
    exit_code,
    moving::{Moved, copy},
    parts::StateError,
};

use super::session::{Session, of_store, runtime};
use crate::{
    args::roles::{Export, Import},
    failure::Failure,
    output,
};

/// Brings in what another cluster has; returns the exit code.
pub(crate) fn import(session: &Session, arguments: &Import) -> Result<u8, Failure> {
    run(session, &arguments.connection, &arguments.from, true)
}

/// Writes out what this cluster has; returns the exit code.
pub(crate) fn export(session: &Session, arguments: &Export) -> Result<u8, Failure> {
    run(session, &arguments.connection, &arguments.to, false)
}

fn run(session: &Session, connection: &str, cluster: &str, is_import: bool) -> Result<u8, Failure> {
    session.start_log(None)?;
    let config = session.parts.config();
    if config.state.connection.as_deref() == Some(connection) && config.cluster.name == cluster {
        let message = format!("the state of this cluster is in the indices of {cluster:?} already");
        return Err(Failure::text(exit_code::BAD_JOB, message));
    }
    let runtime = runtime(None)?;
    let moved = runtime.block_on(async {
        let context = Context::system();
        let theirs = session.parts.indices(connection, cluster, &context).await.map_err(of_state)?;
        let ours = session.parts.state(&session.state_directory()?, &context).await.map_err(of_state)?;
        let (from, to) = if is_import { (&theirs, &ours) } else { (&ours, &theirs) };
        copy(from.as_ref(), to.as_ref()).await.map_err(of_store)
    })?;
    output::print(session.output(), &moved, || render(&moved))?;
    Ok(exit_code::DONE)
}

fn of_state(error: StateError) -> Failure {
    let code = match error {
        StateError::Connection(_) => exit_code::BAD_CONFIG,
        StateError::Directory(_) | StateError::Indices { .. } => exit_code::STATE,
    };
    let hint = error.hint();
    Failure::new(code, error).with_hint(hint)
}

fn render(moved: &Moved) -> String {
    let Moved { jobs, executions, slices, known, running } = moved;
    let mut text = format!(
        "{jobs} jobs, {executions} executions and {slices} slices of theirs that did not complete were written; {known} jobs \
         and executions were there already\n"
    );
    for ex_id in running {
        text.push_str(&format!("left behind: execution {ex_id} has not ended; stop it, and do this again\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use teraslice_model::id::ExId;

    use super::*;

    #[test]
    fn says_what_was_left_behind() {
        let ex_id = ExId::from_random([1; 16]);
        let moved = Moved { jobs: 2, executions: 1, slices: 3, known: 4, running: vec![ex_id] };
        let text = render(&moved);
        assert!(text.starts_with("2 jobs, 1 executions and 3 slices"), "{text}");
        assert!(text.contains(&format!("left behind: execution {ex_id}")), "{text}");
    }
}
