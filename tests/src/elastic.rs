//! A real search server for a case: started, killed, started again, looked into.

use std::{env, fs, path::PathBuf, process::Command, thread::sleep, time::Duration};

use serde_json::{Value, json};

use crate::{
    api::{Answer, agent, answer},
    kill, root, tell,
};

/// Documents asked for at once when an index is looked through.
const PAGE: usize = 10_000;
/// A request that the server has no room for is sent again after this, so often at the most.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
const BUSY_TRIES: u32 = 300;

/// A search server on this machine, empty at first; gone at the end.
#[derive(Debug)]
pub struct ElasticServer {
    script: PathBuf,
    folder: tempfile::TempDir,
    url: String,
    agent: ureq::Agent,
}

impl ElasticServer {
    /// Starts a server; none, said loudly, where that cannot be done.
    ///
    /// # Panics
    ///
    /// When there is no room for its data.
    #[must_use]
    pub fn start() -> Option<Self> {
        let script = services().join("opensearch");
        let folder = tempfile::tempdir().expect("the folder for temporary files can be written");
        if !script.is_file() {
            tell(
                "NOT RUN: this case needs a search server: set TERASLICE_SERVICES to the folder of the scripts",
            );
            return None;
        }
        let agent = agent();
        let mut server = Self { script, folder, url: String::new(), agent };
        match server.up(&["--port", "0"]) {
            Ok(url) => server.url = url,
            Err(reason) => {
                tell(&format!("NOT RUN: the search server that this case needs does not start: {reason}"));
                return None;
            }
        }
        Some(server)
    }

    /// Returns where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the server as the system would.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.folder.path().join("pid")).expect("the script notes the process");
        let pid = pid.split_whitespace().next().and_then(|pid| pid.parse().ok());
        kill(pid.expect("the script notes the process"));
    }

    /// Starts the server again where it was, with what it had.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&self) {
        let port = self.url.rsplit(':').next().unwrap_or_default().to_owned();
        self.up(&["--keep", "--port", &port]).expect("a server that has run starts again");
    }

    fn up(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.script);
        let started = command.arg("up").args(arguments).arg("--dir").arg(self.folder.path()).output();
        let started = started.map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&started.stdout).trim().to_owned();
        if started.status.success() {
            Ok(told.lines().last().unwrap_or_default().to_owned())
        } else {
            Err(String::from_utf8_lossy(&started.stderr).trim().to_owned())
        }
    }

    /// Sends a request; returns the status and the body, JSON or text.
    ///
    /// # Panics
    ///
    /// When it is not answered.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let Answer { status, body } = self.send(method, path, "application/json", &body);
        (status, body)
    }

    /// Sends a request, again as long as the server has no room for it: its heap is small.
    fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        for _ in 0..BUSY_TRIES {
            let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
            let request = request.header("content-type", kind).body(body).expect("the request is one");
            let answer = answer(self.agent.run(request));
            let answer = answer.unwrap_or_else(|| panic!("{method} {path} is not answered"));
            if answer.status != 429 {
                return answer;
            }
            sleep(BUSY_PAUSE);
        }
        panic!("{method} {path}: the server has had no room for it for {:?}", BUSY_PAUSE * BUSY_TRIES)
    }

    /// Sends a request that has to succeed.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.request(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// Sends the body of a bulk request, of which every item has to succeed.
    ///
    /// # Panics
    ///
    /// When one does not.
    pub fn bulk(&self, body: &str) {
        let answer = self.send("POST", "/_bulk", "application/x-ndjson", body);
        assert_eq!(answer.body["errors"], false, "{}", answer.body);
    }

    /// Counts the documents of an index, those just written included.
    ///
    /// # Panics
    ///
    /// When there is no such index.
    #[must_use]
    pub fn count(&self, index: &str) -> u64 {
        self.ask("POST", &format!("/{index}/_refresh"), None);
        self.ask("GET", &format!("/{index}/_count"), None)["count"].as_u64().expect("a count is a number")
    }

    /// Looks at every document of an index: its id and its content.
    ///
    /// # Panics
    ///
    /// When there is no such index.
    pub fn scan(&self, index: &str, mut look: impl FnMut(&str, &Value)) {
        self.ask("POST", &format!("/{index}/_refresh"), None);
        let query = json!({"size": PAGE, "sort": ["_doc"], "query": {"match_all": {}}});
        let mut page = self.ask("POST", &format!("/{index}/_search?scroll=1m"), Some(&query));
        loop {
            let hits = page["hits"]["hits"].as_array().expect("a search answers with hits");
            if hits.is_empty() {
                break;
            }
            for hit in hits {
                look(hit["_id"].as_str().expect("a document has an id"), &hit["_source"]);
            }
            let next = json!({"scroll": "1m", "scroll_id": page["_scroll_id"]});
            page = self.ask("POST", "/_search/scroll", Some(&next));
        }
        self.ask("DELETE", "/_search/scroll", Some(&json!({"scroll_id": page["_scroll_id"]})));
    }
}

impl Drop for ElasticServer {
    fn drop(&mut self) {
        let _stopped = Command::new(&self.script).arg("down").arg("--dir").arg(self.folder.path()).output();
    }
}

/// Returns the folder of the scripts that start real servers.
pub(crate) fn services() -> PathBuf {
    let beside = || root().join("../shared/services");
    env::var_os("TERASLICE_SERVICES").map_or_else(beside, PathBuf::from)
}

/// Returns the connectors with the search server that keeps the state of all clusters of this run, if one does: its address is
/// in `TERASLICE_TEST_STORE`.
pub(crate) fn store() -> Option<Value> {
    store_url().map(|url| connectors(&url))
}

fn store_url() -> Option<String> {
    env::var("TERASLICE_TEST_STORE").ok().filter(|url| !url.is_empty())
}

/// Deletes what the cluster `name` has left on that server.
pub(crate) fn forget(agent: &ureq::Agent, name: &str) {
    let Some(url) = store_url() else { return };
    let list = agent.get(format!("{url}/_cat/indices/{name}__*?h=index")).call();
    let list = list.ok().and_then(|mut list| list.body_mut().read_to_string().ok()).unwrap_or_default();
    for index in list.lines() {
        // What stays is in nobody's way: names are not used again.
        let _deleted = agent.delete(format!("{url}/{}", index.trim())).call();
    }
}

/// Returns connectors with one connection, `default`, to a server.
#[must_use]
pub fn connectors(url: &str) -> Value {
    json!({"elasticsearch-next": {"default": {"node": [url]}}})
}

/// Returns an example's file.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}
