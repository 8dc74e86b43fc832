//! A backend in a process of its own: a line of JSON for each message.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use teraslice_core::context::Context;
use teraslice_plugin_sdk::message::{CANCEL, CancelParams, EVENT, ErrorObject, LOG, MESSAGE_LEN_MAX, Method};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    connection::{CallError, Carrier, Inbox, shown},
    file,
    open_error::OpenError,
};

/// Messages that wait to be written.
const OUT_MAX: usize = 512;
/// A process that is not wanted any more ends by itself within this, or is killed.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// Lines that are no messages, until the process is killed.
const GARBAGE_MAX: u32 = 100;
/// Bytes of a line on standard error.
const STDERR_LEN_MAX: usize = 4 << 10;
/// Lines on standard error that are logged per second.
const STDERR_LINES_MAX: u32 = 50;

/// A backend in a process.
pub(crate) struct Process {
    out: mpsc::Sender<Vec<u8>>,
    kill: watch::Sender<Option<String>>,
}

/// Starts a process, and what looks after it.
pub(crate) fn start(
    command: &[String],
    sha256: Option<&str>,
    inbox: &Arc<Inbox>,
    context: &Context,
) -> Result<Process, OpenError> {
    let (program, arguments) = command.split_first().ok_or(OpenError::NoCommand)?;
    file::check(Path::new(program), sha256)?;
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Signals of the terminal are not for it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let failed = |source| OpenError::Spawn { program: program.clone(), source };
    let mut child = spawned.map_err(failed)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(OpenError::Gone { reason: "it has no pipes".to_owned() });
    };
    let (out, lines) = mpsc::channel(OUT_MAX);
    let (kill, killed) = watch::channel(None);
    let last_words = Arc::new(Mutex::new(String::new()));
    drop(context.spawn(write(stdin, lines)));
    drop(context.spawn(listen(stderr, Arc::clone(&last_words), context.clone())));
    let reading = context.spawn(read(stdout, Arc::clone(inbox), kill.clone()));
    let (inbox, grounds) = (Arc::clone(inbox), killed);
    drop(context.spawn(async move {
        let reason = attend(child, grounds).await;
        // What it said before its end counts.
        let _said = timeout(LEAVE_MAX, reading).await;
        let words = last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let words = if words.is_empty() { words } else { format!(", its last words: {words}") };
        inbox.close(&format!("{reason}{words}"));
    }));
    Ok(Process { out, kill })
}

impl Carrier for Process {
    fn call(&self, id: u64, method: Method, params: &[u8]) -> Result<(), CallError> {
        let name = method.name();
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{name}\",\"params\":");
        let line = [head.as_bytes(), params, b"}\n"].concat();
        self.out.try_send(line).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Busy,
            mpsc::error::TrySendError::Closed(_) => {
                CallError::Gone("its standard input is closed".to_owned())
            }
        })
    }

    fn cancel(&self, id: u64) {
        let params = serde_json::to_string(&CancelParams { id }).unwrap_or_default();
        let line = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{CANCEL}\",\"params\":{params}}}\n");
        // Where there is no room for it the call goes on, and its answer is passed over.
        let _no_room = self.out.try_send(line.into_bytes());
    }

    fn end(&self) {
        self.kill.send_replace(Some("it was killed, as it answered nothing any more".to_owned()));
    }
}

/// Writes what is to be said; standard input is closed when nobody has anything to say any more.
async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Waits for the end of the process; kills it when there are grounds, or when nobody wants it any more.
async fn attend(mut child: Child, mut grounds: watch::Receiver<Option<String>>) -> String {
    let ended = tokio::select! {
        ended = child.wait() => return ended.map_or_else(|error| error.to_string(), in_words),
        ended = grounds.wait_for(Option::is_some) => ended.ok().and_then(|reason| reason.clone()),
    };
    if ended.is_none() && timeout(LEAVE_MAX, child.wait()).await.is_ok() {
        return "it was ended".to_owned();
    }
    // It may have ended by itself meanwhile.
    let _gone = child.kill().await;
    ended.unwrap_or_else(|| "it was killed, as it did not end by itself".to_owned())
}

fn in_words(status: ExitStatus) -> String {
    format!("the process has ended: {status}")
}

/// A line of a backend.
#[derive(Deserialize)]
struct Line {
    id: Option<u64>,
    result: Option<Box<RawValue>>,
    error: Option<ErrorObject>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
}

/// Takes what the process says. It is killed when it says too much, or nothing that makes sense.
async fn read(stdout: ChildStdout, inbox: Arc<Inbox>, kill: watch::Sender<Option<String>>) {
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    let (mut line, mut garbage) = (Vec::new(), 0);
    loop {
        line.clear();
        match read_line(&mut stdout, &mut line, MESSAGE_LEN_MAX).await {
            Ok(Ended::Line) => {}
            Ok(Ended::Input) | Err(_) => return,
            Ok(Ended::Limit) => {
                let reason = format!("it sent a message of more than {MESSAGE_LEN_MAX} bytes");
                inbox.violate(&reason);
                kill.send_replace(Some(reason));
                return;
            }
        }
        if let Err(what) = take(&line, &inbox) {
            inbox.violate(&format!("{what}: {}", shown(&line)));
            garbage += 1;
            if garbage == GARBAGE_MAX {
                kill.send_replace(Some(format!("it sent {GARBAGE_MAX} lines that are no messages")));
                return;
            }
        }
    }
}

fn take(line: &[u8], inbox: &Inbox) -> Result<(), String> {
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| format!("a line of its output is no message: {error}"))?;
    let params = line.params.as_ref().map_or("null", |params| params.get()).as_bytes();
    match (line.id, line.method.as_deref()) {
        (Some(id), None) => {
            let result = line.result.map_or(b"null".to_vec(), |result| result.get().as_bytes().to_vec());
            inbox.complete(id, line.error.map_or(Ok(result), Err));
        }
        (None, Some(EVENT)) => inbox.event(params),
        (None, Some(LOG)) => inbox.log(params),
        (None, None) if line.error.is_some() => return Err("it did not understand a message".to_owned()),
        _ => return Err("a message of it is neither an answer nor an event nor a log line".to_owned()),
    }
    Ok(())
}

/// Logs standard error: what fits into a second; keeps the last line.
async fn listen(stderr: ChildStderr, last_words: Arc<Mutex<String>>, context: Context) {
    let mut stderr = BufReader::new(stderr);
    let (mut line, mut second, mut count) = (Vec::new(), context.now(), 0_u32);
    loop {
        line.clear();
        match read_line(&mut stderr, &mut line, STDERR_LEN_MAX).await {
            Ok(Ended::Line | Ended::Limit) => {}
            Ok(Ended::Input) | Err(_) => return,
        }
        let now: Instant = context.now();
        if now.duration_since(second) >= Duration::from_secs(1) {
            if count > STDERR_LINES_MAX {
                tracing::warn!(
                    lines = count - STDERR_LINES_MAX,
                    "lines of a cluster backend were not logged"
                );
            }
            (second, count) = (now, 0);
        }
        count = count.saturating_add(1);
        let text = shown(line.trim_ascii_end());
        if count <= STDERR_LINES_MAX {
            tracing::info!(text, "cluster backend wrote to standard error");
        }
        if !text.is_empty() {
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    }
}

/// Where reading has ended.
enum Ended {
    Line,
    Limit,
    Input,
}

/// Reads up to the end of a line, or so many bytes.
async fn read_line<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    line: &mut Vec<u8>,
    len_max: usize,
) -> std::io::Result<Ended> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(if line.is_empty() { Ended::Input } else { Ended::Line });
        }
        let room = len_max - line.len();
        let end = available.iter().take(room).position(|byte| *byte == b'\n');
        let len = end.map_or(available.len().min(room), |end| end + 1);
        line.extend_from_slice(&available[..len]);
        reader.consume(len);
        if end.is_some() {
            return Ok(Ended::Line);
        }
        if line.len() == len_max {
            return Ok(Ended::Limit);
        }
    }
}
