//! A small HTTP server for tests: writes down what it is asked, and answers what it was told.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Method and target, such as `GET /v1/jobs?size=1`.
    pub line: String,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A status and a JSON document.
    Json(u16, Value),
    /// A status, further header lines, and a body.
    Raw(u16, &'static str, Vec<u8>),
    /// The connection is closed without an answer.
    Hangup,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asked {
    /// Returns a header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Stub {
    /// Starts a server that answers each request, one after another.
    ///
    /// # Panics
    ///
    /// When the machine has no port left.
    #[must_use]
    pub fn start(answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (asked, is_over) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, ends) = (Arc::clone(&asked), Arc::clone(&is_over));
        let thread = thread::spawn(move || serve(&listener, &seen, &ends, answer));
        Self { address, asked, is_over, thread: Some(thread) }
    }

    /// Starts a server that knows some requests, such as `GET /v1/jobs`, each with what it is answered, and
    /// answers 404 to any other. A request that is listed several times gets its answers in that order, the last one for good.
    #[must_use]
    pub fn knowing(known: &[(&str, u16, Value)]) -> Self {
        let known: Vec<_> =
            known.iter().map(|(line, status, body)| ((*line).to_owned(), *status, body.clone())).collect();
        let mut given: Vec<String> = Vec::new();
        Self::start(move |asked| {
            let answers: Vec<_> = known.iter().filter(|(line, ..)| *line == asked.line).collect();
            let turn = given.iter().filter(|line| **line == asked.line).count();
            given.push(asked.line.clone());
            match answers.get(turn).or(answers.last()) {
                Some((_, status, body)) => Reply::Json(*status, body.clone()),
                None => {
                    let message = format!("the stub does not know {}", asked.line);
                    Reply::Json(404, serde_json::json!({"error": 404, "message": message}))
                }
            }
        })
    }

    /// Returns the URL of the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }

    /// Returns method and target of what was asked so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.asked).iter().map(|asked| asked.line.clone()).collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the server, which may wait for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed, and fails the test by what is not answered.
            drop(thread.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    listener: &TcpListener,
    asked: &Mutex<Vec<Asked>>,
    is_over: &AtomicBool,
    mut answer: impl FnMut(&Asked) -> Reply,
) {
    for stream in listener.incoming().map_while(Result::ok) {
        if is_over.load(Ordering::Acquire) {
            return;
        }
        // A client that goes away in the midst is part of some tests.
        drop(exchange(&stream, asked, &mut answer));
        drop(stream.shutdown(Shutdown::Both));
    }
}

fn exchange(
    stream: &TcpStream,
    asked: &Mutex<Vec<Asked>>,
    answer: &mut impl FnMut(&Asked) -> Reply,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = read(&mut BufReader::new(stream))?;
    lock(asked).push(request.clone());
    let (status, headers, body) = match answer(&request) {
        Reply::Hangup => return Ok(()),
        Reply::Json(status, document) => (
            status,
            "content-type: application/json; charset=utf-8\r\n",
            format!("{document:#}").into_bytes(),
        ),
        Reply::Raw(status, headers, body) => (status, headers, body),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} -\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

fn read(stream: &mut BufReader<&TcpStream>) -> io::Result<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut asked = Asked { line, ..Asked::default() };
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    asked.body.resize(length, 0);
    stream.read_exact(&mut asked.body)?;
    Ok(asked)
}
