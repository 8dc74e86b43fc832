//! Waiting for what happens in a cluster.

use std::{thread, time::Duration};

use serde_json::Value;
use teraslice_api::{
    client::{Client, ClientError, Event, Events},
    event::{END, PROGRESS, STATUS},
};
use teraslice_core::context::Context;
use teraslice_model::{execution::Stats, status::Status};
use teraslice_node::exit_code;
use tokio::time::Instant;

use super::{Site, of_client, select::status_of};
use crate::{args::cluster::Waiting, failure::Failure, progress::Progress};

/// The first pause; each further one is twice as long, up to the interval.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How long the cluster may not answer before a wait is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// A stream of events that says nothing for so long is asked for anew.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A wait that ends in time.
#[derive(Debug)]
pub(crate) struct Wait {
    context: Context,
    deadline: Instant,
    timeout: Duration,
    interval: Duration,
    pause: Duration,
    /// Since when the cluster has not answered.
    silent_since: Option<Instant>,
}

impl Wait {
    /// Begins.
    pub(crate) fn new(waiting: Waiting) -> Self {
        let context = Context::system();
        let deadline = context.now() + waiting.timeout;
        let pause = PAUSE_MIN.min(waiting.interval);
        let Waiting { timeout, interval } = waiting;
        Self { context, deadline, timeout, interval, pause, silent_since: None }
    }

    /// Asks until there is something; a cluster that does not answer is given a minute to come back.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, ClientError>,
    ) -> Result<T, Failure> {
        loop {
            if let Some(found) = self.tolerate(look())?.flatten() {
                return Ok(found);
            }
            self.pause(what)?;
        }
    }

    /// Passes an answer on; none when the cluster does not answer, and may come back.
    fn tolerate<T>(&mut self, answer: Result<T, ClientError>) -> Result<Option<T>, Failure> {
        let error = match answer {
            Ok(found) => {
                self.silent_since = None;
                return Ok(Some(found));
            }
            Err(error) => error,
        };
        let is_silent = match &error {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } => true,
            ClientError::Refused(answer) => answer.status == 429 || answer.status >= 500,
            _ => false,
        };
        let now = self.context.now();
        let since = *self.silent_since.get_or_insert(now);
        if is_silent && now - since < PATIENCE { Ok(None) } else { Err(of_client(error)) }
    }

    fn pause(&mut self, what: &str) -> Result<(), Failure> {
        let left = self.left(what)?;
        thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(self.interval);
        Ok(())
    }

    /// Returns the time that is left.
    fn left(&self, what: &str) -> Result<Duration, Failure> {
        let left = self.deadline.saturating_duration_since(self.context.now());
        if left.is_zero() {
            let message = format!("gave up after {:?}: {what}", self.timeout);
            return Err(Failure::text(exit_code::TIMEOUT, message).with_hint(
                "`teraslice ex explain ALIAS EX_ID` says what is in the way; --timeout sets the limit",
            ));
        }
        Ok(left)
    }
}

/// Watches an execution until it ends or has finished so many slices; returns its record.
///
/// Listens to its events where the master has them, and asks now and then where it has not.
pub(crate) fn watch(
    site: &Site,
    client: &Client,
    ex_id: &str,
    slices: u64,
    waiting: Waiting,
) -> Result<Value, Failure> {
    let mut wait = Wait::new(waiting);
    let mut watch = Watch {
        progress: Progress::new(site.screen.clone(), wait.context.now()),
        slices,
        what: format!("execution {ex_id} has not ended"),
    };
    let mut has_events = true;
    let found = loop {
        if has_events {
            let silence_max = SILENCE_MAX.min(wait.left(&watch.what)?);
            match client.events(ex_id, silence_max) {
                Ok(events) => watch.listen(&wait, events)?,
                Err(ClientError::Refused(_) | ClientError::Strange { .. }) => has_events = false,
                // The next question finds out.
                Err(_) => {}
            }
        }
        if let Some(execution) = wait.tolerate(client.get(&["ex", ex_id], &[]))? {
            let stats = stats(client, ex_id, &execution);
            if watch.look(&wait, status_of(&execution), &stats) {
                break execution;
            }
        }
        wait.pause(&watch.what)?;
    };
    watch.progress.end();
    Ok(found)
}

/// Reads the statistics of an execution: from its controller while it runs, then from its record.
fn stats(client: &Client, ex_id: &str, execution: &Value) -> Stats {
    let is_live = status_of(execution).is_some_and(|status| !status.is_terminal());
    let of_controller = || client.get(&["ex", ex_id, "controller"], &[]).ok()?.get(0).cloned();
    let found = if is_live { of_controller() } else { None };
    let found = found.or_else(|| execution.get("_slicer_stats").cloned()).unwrap_or_default();
    serde_json::from_value(found).unwrap_or_default()
}

/// What is watched, and how far it is.
struct Watch {
    progress: Progress,
    slices: u64,
    what: String,
}

impl Watch {
    /// Takes down how far it is; tells whether that is far enough.
    fn look(&mut self, wait: &Wait, status: Option<Status>, stats: &Stats) -> bool {
        self.progress.look(stats, wait.context.now());
        status.is_some_and(Status::is_terminal) || stats.processed >= self.slices
    }

    /// Listens until it is far enough, or the stream ends.
    fn listen(&mut self, wait: &Wait, events: Events) -> Result<(), Failure> {
        for event in events {
            // What broke off is asked for anew.
            let Ok(Event { name, data }) = event else { break };
            wait.left(&self.what)?;
            let is_enough = match name.as_str() {
                END => true,
                STATUS => {
                    let status = data.get("status").and_then(Value::as_str).and_then(Status::parse);
                    status.is_some_and(Status::is_terminal)
                }
                PROGRESS => {
                    let stats = data.get("stats").cloned().unwrap_or_default();
                    let stats = serde_json::from_value(stats).unwrap_or_default();
                    self.look(wait, None, &stats)
                }
                _ => false,
            };
            if is_enough {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_api::client::{
        Options,
        stub::{Asked, Reply, Stub},
    };

    use super::*;
    use crate::command::cluster::testing::{Place, waiting};

    fn client(stub: &Stub) -> Client {
        let backoff = Duration::from_millis(1);
        Client::new(&stub.url(), Options { backoff, ..Options::default() }).unwrap()
    }

    #[test]
    fn gives_up_in_time_and_says_what_was_awaited() {
        let short = Waiting { timeout: Duration::from_millis(5), ..waiting() };
        let failure = Wait::new(short).until("job 1 runs", || Ok(None::<()>)).unwrap_err();
        assert_eq!(failure.code, exit_code::TIMEOUT);
        assert!(failure.render().starts_with("error: gave up after 5ms: job 1 runs\n"));
    }

    #[test]
    fn bears_a_master_that_restarts() {
        let mut turn = 0;
        let stub = Stub::start(move |_| {
            turn += 1;
            if turn < 6 { Reply::Hangup } else { Reply::Json(200, json!({"_status": "running"})) }
        });
        let client = client(&stub);
        let look = || client.get(&["ex", "1"], &[]).map(Some);
        assert_eq!(Wait::new(waiting()).until("it runs", look).unwrap()["_status"], "running");
    }

    #[test]
    fn watches_by_events() {
        let body = b"event: status\ndata: {\"status\":\"running\"}\n\nevent: end\ndata: {\"status\":\"completed\"}\n\n";
        let stub = Stub::start(move |asked: &Asked| match asked.line.as_str() {
            "GET /v1/ex/1/events" => Reply::Raw(200, "content-type: text/event-stream\r\n", body.to_vec()),
            _ => Reply::Json(200, json!({"_status": "completed", "_slicer_stats": {"processed": 3}})),
        });
        let found = watch(&Place::new("http://h").site(), &client(&stub), "1", u64::MAX, waiting()).unwrap();
        assert_eq!(found["_status"], "completed");
        assert_eq!(stub.lines(), ["GET /v1/ex/1/events", "GET /v1/ex/1"]);
    }

    #[test]
    fn watches_a_master_without_events_until_enough_slices_are_done() {
        let refused = json!({"error": 405, "message": "cannot GET endpoint"});
        let stats =
            |processed: u64| json!([serde_json::to_value(Stats { processed, ..Stats::default() }).unwrap()]);
        let stub = Stub::knowing(&[
            ("GET /v1/ex/1/events", 405, refused),
            ("GET /v1/ex/1", 200, json!({"_status": "running"})),
            ("GET /v1/ex/1/controller", 200, stats(1)),
            ("GET /v1/ex/1/controller", 200, stats(5)),
        ]);
        let found = watch(&Place::new("http://h").site(), &client(&stub), "1", 5, waiting()).unwrap();
        assert_eq!(found["_status"], "running");
        assert_eq!(stub.lines().iter().filter(|line| line.ends_with("/events")).count(), 1);
    }

    #[test]
    fn fails_when_the_execution_is_not_known() {
        let stub = Stub::knowing(&[]);
        let failure = watch(&Place::new("http://h").site(), &client(&stub), "1", 1, waiting()).unwrap_err();
        assert_eq!(failure.code, exit_code::REFUSED);
    }
}
