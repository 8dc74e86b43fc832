//! `teraslice ex`: the executions of a cluster.

mod tail;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde_json::Value;
use teraslice_api::client::Client;
use teraslice_model::status::Status;
use teraslice_node::exit_code;

use super::{
    cluster::{
        Site, of_client,
        outcome::{Outcome, each},
        select::status_of,
        show,
        verbs::{millis, stop_query, warn, watched},
        wait::{Wait, watch},
    },
    jobs::ERRORS,
};
use crate::{
    args::{
        Common,
        executions::{
            Ex, ListExecutions, ListSlices, OneExecution, PageOfExecution, RecoverExecution, SomeExecutions,
            StopExecutions,
        },
    },
    failure::Failure,
};

/// Runs a command about executions; returns the exit code.
pub(crate) fn execute(common: &Common, command: &Ex) -> Result<u8, Failure> {
    match command {
        Ex::List(arguments) => list(common, arguments),
        Ex::Status(arguments) => status(common, arguments),
        Ex::Stop(arguments) => stop(common, arguments),
        Ex::Recover(arguments) => recover(common, arguments),
        Ex::Errors(arguments) => errors(common, arguments),
        Ex::Explain(arguments) => explain(common, arguments),
        Ex::Tail(arguments) => tail::execute(common, arguments),
        Ex::Slices(arguments) => slices(common, arguments),
    }
}

fn list(common: &Common, arguments: &ListExecutions) -> Result<u8, Failure> {
    let ListExecutions { alias, status, deleted, paging, access } = arguments;
    let site = Site::new(common, access)?;
    let mut query = paging.query();
    if !status.is_empty() {
        query.push(("status", status.join(",")));
    }
    if *deleted {
        query.push(("deleted", "true".to_owned()));
    }
    let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let executions = site.client(alias)?.get(&["ex"], &query).map_err(of_client)?;
    let columns = [
        ("ex_id", "ex_id"),
        ("name", "name"),
        ("status", "_status"),
        ("lifecycle", "lifecycle"),
        ("slicers", "slicers"),
        ("workers", "workers"),
        ("job_id", "job_id"),
        ("created", "_created"),
        ("updated", "_updated"),
    ];
    site.list(&executions, "ex_id", &columns)?;
    Ok(exit_code::DONE)
}

fn status(common: &Common, arguments: &SomeExecutions) -> Result<u8, Failure> {
    let site = Site::new(common, &arguments.access)?;
    let client = site.client(&arguments.alias)?;
    each(&site, "ex_id", &arguments.ids, |id| {
        let execution = client.get(&["ex", id], &[]).map_err(of_client)?;
        let fields = ["name", "job_id", "ex_id", "workers"];
        let outcome = watched(Outcome::new(""), &execution).with_fields(&execution, &fields);
        // That an execution has failed is no failure of asking.
        Ok(outcome.with_code(exit_code::DONE))
    })
}

fn stop(common: &Common, arguments: &StopExecutions) -> Result<u8, Failure> {
    let StopExecutions { executions: SomeExecutions { alias, ids, access }, force, waiting } = arguments;
    let site = Site::new(common, access)?;
    let client = site.client(alias)?;
    each(&site, "ex_id", ids, |id| {
        let timeout = millis(*waiting);
        client.post(&["ex", id, "_stop"], &stop_query(*force, &timeout), None).map_err(of_client)?;
        let execution = Wait::new(*waiting).until(&format!("execution {id} has not stopped"), || {
            let execution = client.get(&["ex", id], &[])?;
            Ok(status_of(&execution).is_none_or(Status::is_terminal).then_some(execution))
        })?;
        Ok(Outcome::new(&show::cell(&execution, "_status")).with("ex_id", id.as_str()))
    })
}

fn recover(common: &Common, arguments: &RecoverExecution) -> Result<u8, Failure> {
    let RecoverExecution { execution, recovery, watching, waiting } = arguments;
    let site = Site::new(common, &execution.access)?;
    let client = site.client(&execution.alias)?;
    let query: Vec<_> =
        recovery.cleanup.map(|cleanup| ("cleanup_type", cleanup.word())).into_iter().collect();
    each(&site, "ex_id", &[&execution.id], |id| {
        let answer = client.post(&["ex", id, "_recover"], &query, None).map_err(of_client)?;
        warn(&site, &answer);
        let outcome = Outcome::new("started").with_fields(&answer, &["job_id", "ex_id"]);
        match answer.get("ex_id").and_then(Value::as_str) {
            Some(ex_id) if watching.watch > 0 => {
                Ok(watched(outcome, &watch(&site, &client, ex_id, watching.watch, *waiting)?))
            }
            _ => Ok(outcome),
        }
    })
}

fn errors(common: &Common, arguments: &PageOfExecution) -> Result<u8, Failure> {
    let PageOfExecution { execution, paging } = arguments;
    let (site, client) = start(common, execution)?;
    let query = paging.query();
    let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let errors = client.get(&["ex", &execution.id, "errors"], &query).map_err(of_client)?;
    site.list(&errors, "slice_id", &ERRORS)?;
    Ok(exit_code::DONE)
}

fn slices(common: &Common, arguments: &ListSlices) -> Result<u8, Failure> {
    let ListSlices { execution, state, from, size } = arguments;
    let (site, client) = start(common, execution)?;
    let (from, size) = (from.to_string(), size.to_string());
    let query = [("from", from.as_str()), ("size", &size), ("state", state)];
    let slices = client.get(&["ex", &execution.id, "slices"], &query).map_err(of_client)?;
    let columns = [
        ("slice_id", "slice_id"),
        ("slicer", "slicer_id"),
        ("order", "slicer_order"),
        ("state", "state"),
        ("updated", "_updated"),
        ("request", "request"),
        ("error", "error"),
    ];
    site.list(&slices, "slice_id", &columns)?;
    Ok(exit_code::DONE)
}

fn explain(common: &Common, execution: &OneExecution) -> Result<u8, Failure> {
    let (site, client) = start(common, execution)?;
    let explanation = client.get(&["ex", &execution.id, "explain"], &[]).map_err(of_client)?;
    site.print(&explanation, "cause", || render(&explanation))?;
    Ok(exit_code::DONE)
}

/// Writes an explanation: what is the matter, what shows it, what to do.
fn render(explanation: &Value) -> String {
    let field = |key: &str| explanation.get(key).filter(|value| !value.is_null());
    let mut text = format!("status    {}\n", show::cell(explanation, "status"));
    let _infallible = writeln!(text, "cause     {}", show::cell(explanation, "cause"));
    if field("message").is_some() {
        let _infallible = writeln!(text, "          {}", show::cell(explanation, "message"));
    }
    let mut evidence = Vec::new();
    match field("evidence") {
        Some(Value::Object(facts)) => {
            evidence.extend(facts.iter().map(|(key, value)| format!("{key}: {}", words(value))));
        }
        Some(Value::Array(facts)) => evidence.extend(facts.iter().map(words)),
        Some(fact) => evidence.push(words(fact)),
        None => {}
    }
    for (index, fact) in evidence.iter().enumerate() {
        let head = if index == 0 { "evidence" } else { "" };
        let _infallible = writeln!(text, "{head:<8}  {fact}");
    }
    if field("hint").is_some() {
        let _infallible = writeln!(text, "hint      {}", show::cell(explanation, "hint"));
    }
    text
}

fn words(value: &Value) -> String {
    show::plain(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn start(common: &Common, execution: &OneExecution) -> Result<(Site, Client), Failure> {
    let site = Site::new(common, &execution.access)?;
    let client = site.client(&execution.alias)?;
    Ok((site, client))
}
