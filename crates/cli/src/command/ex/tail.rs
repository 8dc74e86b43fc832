//! `teraslice ex tail`: what happens to an execution, line by line.

use std::time::Duration;

use serde_json::{Value, json};
use teraslice_api::{
    client::{ClientError, Event},
    event::{END, PROGRESS},
};
use teraslice_core::context::Context;
use teraslice_model::status::Status;
use teraslice_node::exit_code;

use super::start;
use crate::{
    args::{Common, Output, executions::TailExecution},
    command::cluster::{of_client, show},
    failure::Failure,
    output, units,
};

/// A stream that says nothing for so long is asked for anew.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Prints events until the execution ends; returns the exit code.
pub(super) fn execute(common: &Common, arguments: &TailExecution) -> Result<u8, Failure> {
    let TailExecution { execution, waiting } = arguments;
    let (site, client) = start(common, execution)?;
    let context = Context::system();
    let deadline = context.now() + waiting.timeout;
    loop {
        let events = client.events(&execution.id, SILENCE_MAX).map_err(|error| match error {
            ClientError::Refused(answer) if answer.status == 405 => {
                Failure::new(exit_code::REFUSED, ClientError::Refused(answer))
                    .with_hint("this master has no event stream; `teraslice ex status` asks once")
            }
            other => of_client(other),
        })?;
        for event in events {
            let Ok(event) = event else { break };
            print(site.output, &context.wall().to_string(), &event)?;
            if event.name == END {
                return Ok(code(&event.data));
            }
            if context.now() >= deadline {
                break;
            }
        }
        if context.now() >= deadline {
            let message = format!("gave up after {:?}: execution {} goes on", waiting.timeout, execution.id);
            return Err(Failure::text(exit_code::TIMEOUT, message).with_hint("--timeout sets the limit"));
        }
        std::thread::sleep(Duration::from_millis(500).min(waiting.interval));
    }
}

fn code(end: &Value) -> u8 {
    match end.get("status").and_then(Value::as_str).and_then(Status::parse) {
        Some(Status::Failed | Status::Terminated | Status::Rejected) => exit_code::FAILED,
        _ => exit_code::DONE,
    }
}

/// Prints an event: a line for people, else one JSON document per line.
fn print(format: Output, time: &str, event: &Event) -> Result<(), Failure> {
    let text = || match format {
        Output::Json => json!({"event": event.name, "data": event.data}).to_string() + "\n",
        Output::Table | Output::Name => {
            format!("{time}  {:<8}  {}\n", show::plain(&event.name), words(event))
        }
    };
    output::print(Output::Table, &(), text)
}

fn words(Event { name, data }: &Event) -> String {
    if name != PROGRESS {
        let failure = data.get("failure").and_then(Value::as_str);
        let status = show::cell(data, "status");
        return failure.map_or(status.clone(), |failure| format!("{status}: {}", show::plain(failure)));
    }
    let stats = data.get("stats").unwrap_or(data);
    let number = |key: &str| stats.get(key).and_then(Value::as_u64).unwrap_or_default();
    format!(
        "processed {}  queued {}  failed {}  workers {}",
        units::count(number("processed")),
        units::count(number("queued")),
        units::count(number("failed")),
        number("workers_active") + number("workers_available"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_each_event_in_a_line() {
        let event = |name: &str, data: Value| words(&Event { name: name.to_owned(), data });
        assert_eq!(event("status", json!({"status": "running"})), "running");
        assert_eq!(event("end", json!({"status": "failed", "failure": "no\nspace"})), "failed: no space");
        let stats = json!({"stats": {"processed": 1200, "queued": 3, "failed": 0, "workers_active": 2}});
        assert_eq!(event("progress", stats), "processed 1,200  queued 3  failed 0  workers 2");
    }
}
