//! A backend as a process: one JSON-RPC 2.0 message per line on standard input and output.

use std::{
    io::{self, BufRead, Read as _, Write as _},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::{
    ClusterBackend, Host,
    backend::Sink,
    dispatch::{Answer, Calls, Dispatcher, Serve},
    message::{CANCEL, CancelParams, EVENT, ErrorObject, Event, LOG, Log, MESSAGE_LEN_MAX, Method, code},
};

/// Lines that wait to be read.
const LINES_MAX: usize = 64;

/// Makes a program of a backend: defines `main`.
#[macro_export]
macro_rules! serve_stdio {
    ($backend:ty) => {
        fn main() -> ::std::process::ExitCode {
            $crate::stdio::serve::<$backend>()
        }
    };
}

/// Answers calls until standard input ends.
///
/// Nothing else may write to standard output; what is written to standard error is logged by the host.
#[must_use]
pub fn serve<B: ClusterBackend>() -> ExitCode {
    let sink: Arc<Output> = Arc::default();
    let dispatcher: Arc<dyn Serve> = Arc::new(Dispatcher::<B>::new(Host::new(Arc::clone(&sink) as _)));
    let (lines, received) = mpsc::channel(LINES_MAX);
    let reader = thread::Builder::new().name("requests".to_owned()).spawn(move || read(&lines));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Ok(_ends_with_input)) = (runtime, reader) else { return ExitCode::FAILURE };
    runtime.block_on(answer(received, &dispatcher, &sink));
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

/// A line of the host.
#[derive(Deserialize)]
struct Line {
    id: Option<u64>,
    method: String,
    params: Box<RawValue>,
}

/// Reads lines until there are no more, or one is too long.
fn read(lines: &mpsc::Sender<Vec<u8>>) {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(MESSAGE_LEN_MAX).unwrap_or(u64::MAX);
        match input.by_ref().take(limit).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if !line.ends_with(b"\n") => return,
            Ok(_) => {}
        }
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

async fn answer(mut lines: mpsc::Receiver<Vec<u8>>, dispatcher: &Arc<dyn Serve>, output: &Arc<Output>) {
    let calls = Calls::default();
    while let Some(line) = lines.recv().await {
        let line: Line = match serde_json::from_slice(&line) {
            Ok(line) => line,
            Err(error) => {
                output.answer(None, Err(ErrorObject::new(code::PARSE, error.to_string())));
                continue;
            }
        };
        match (line.id, Method::of_name(&line.method)) {
            (Some(id), Some(method)) => {
                let params = line.params.get().as_bytes().to_vec();
                let (answering, output) = (Arc::clone(dispatcher).call(method, params), Arc::clone(output));
                calls.start(id, answering, move |answer| output.answer(Some(id), answer));
            }
            (Some(id), None) => {
                let message = format!("there is no method {:?}", line.method);
                output.answer(Some(id), Err(ErrorObject::new(code::METHOD, message)));
            }
            (None, _) if line.method == CANCEL => {
                let params: Result<CancelParams, _> = serde_json::from_str(line.params.get());
                if let Ok(CancelParams { id }) = params {
                    calls.cancel(id);
                }
            }
            (None, _) => {}
        }
    }
}

/// Standard output, a line at a time.
#[derive(Default)]
struct Output(Mutex<()>);

impl Output {
    fn answer(&self, id: Option<u64>, answer: Answer) {
        let id = id.map_or("null".to_owned(), |id| id.to_string());
        let (key, bytes) = match answer {
            Ok(result) => ("result", result),
            Err(error) => ("error", serde_json::to_vec(&error).unwrap_or_default()),
        };
        let mut line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{key}\":").into_bytes();
        line.extend(bytes);
        self.write(line);
    }

    fn notify<P: Serialize>(&self, method: &str, params: &P) {
        let mut line = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":").into_bytes();
        line.extend(serde_json::to_vec(params).unwrap_or_default());
        self.write(line);
    }

    fn write(&self, mut line: Vec<u8>) {
        line.extend(b"}\n");
        let _one_at_a_time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stdout = io::stdout().lock();
        // The host is gone: standard input ends too.
        let _gone = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}

impl Sink for Output {
    fn event(&self, event: &Event) {
        self.notify(EVENT, event);
    }

    fn log(&self, log: &Log) {
        self.notify(LOG, log);
    }
}
