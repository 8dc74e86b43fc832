//! A cluster of real processes: a master, nodes, and what they start; all gone at the end.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Stage,
    api::{self, Answer, agent_believing, answer},
    backends, binary,
    clock::Clock,
    elastic, kill,
    network::Network,
};

/// Everything that is waited for has to happen within this, unless a case says otherwise.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// While something is waited for, it is looked this often.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The secret that all members of a test's cluster share.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What a cluster is made with.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many nodes join at the start.
    pub nodes: usize,
    /// Slots of each node.
    pub slots: usize,
    /// Whether each node has a network of its own, whose link can be cut; else all share this machine's loopback.
    pub is_networked: bool,
    /// Whether the master's process is a node too, called `master`; two of its slots are the master's own.
    pub has_master_node: bool,
    /// Whether the wall clock of all processes can be moved.
    pub has_clock: bool,
    /// More variables in the environment of all processes.
    pub environment: Vec<(&'static str, String)>,
    /// More keys under `teraslice` for all members.
    pub config: Value,
    /// More keys under `terafoundation` for all members.
    pub foundation: Value,
    /// `terafoundation.connectors`; absent: the server of `TERASLICE_TEST_STORE`, or none.
    pub connectors: Option<Value>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            slots: 8,
            is_networked: false,
            has_master_node: false,
            has_clock: false,
            environment: Vec::new(),
            config: json!({}),
            foundation: json!({}),
            connectors: None,
        }
    }
}

impl ClusterOptions {
    /// Puts a cluster that names no backend on that of `TERASLICE_TEST_BACKEND`, in place of nodes.
    fn on_chosen_backend(mut self) -> Self {
        if let Some(Value::Object(keys)) = backends::chosen().filter(|_| !self.is_foreign()) {
            (self.nodes, self.has_master_node) = (0, false);
            self.config.as_object_mut().expect("the configuration is an object").extend(keys);
        }
        self
    }

    /// Tells whether a backend of a third party starts what runs, and there are no nodes.
    fn is_foreign(&self) -> bool {
        self.config.get("cluster_manager_type").is_some()
    }
}

/// A running cluster. Every process of it ends with this.
#[derive(Debug)]
pub struct Cluster {
    /// The folder in which everything lies; jobs' relative paths start here.
    pub stage: Stage,
    options: ClusterOptions,
    name: String,
    host: String,
    port: u16,
    network: Option<Network>,
    clock: Option<Clock>,
    master: Option<Child>,
    nodes: Vec<Option<Child>>,
    agent: ureq::Agent,
    scheme: &'static str,
    token: Option<String>,
    /// A disk of its own that the master's state lies on.
    disk: Option<PathBuf>,
}

impl Cluster {
    /// Starts a master and nodes and waits until all have joined.
    ///
    /// # Panics
    ///
    /// When something does not start.
    #[must_use]
    pub fn start(options: ClusterOptions) -> Self {
        let mut cluster = Self::prepare(options.on_chosen_backend());
        cluster.start_master();
        for node in 0..cluster.options.nodes {
            cluster.start_node(node);
        }
        cluster.await_nodes(cluster.options.nodes + usize::from(cluster.options.has_master_node));
        cluster
    }

    /// Starts a cluster whose links are encrypted, with an authority that the master makes.
    ///
    /// # Panics
    ///
    /// When something does not start.
    #[must_use]
    pub fn start_encrypted(options: ClusterOptions) -> Self {
        let mut options = options.on_chosen_backend();
        let nodes = std::mem::take(&mut options.nodes);
        let mut cluster = Self::prepare(options);
        cluster.scheme = "https";
        let ca = cluster.stage.path("master/state/ca.pem");
        let config = cluster.config("master", &json!({}));
        cluster.master = Some(cluster.spawn("master", Command::new(binary()), &["master"], &config));
        let pem = cluster.wait("the authority of the master", WAIT_MAX, |_| {
            fs::read(&ca).ok().filter(|pem| !pem.is_empty())
        });
        cluster.agent = agent_believing(&pem);
        cluster.await_open();
        cluster.options.config["tls"] = json!({"ca": ca});
        for node in 0..nodes {
            cluster.start_node(node);
        }
        cluster.await_nodes(nodes);
        cluster
    }

    /// Starts a cluster that asks for tokens, and shows it the first one.
    ///
    /// # Panics
    ///
    /// When something does not start.
    #[must_use]
    pub fn start_with_token(options: ClusterOptions) -> Self {
        let mut options = options.on_chosen_backend();
        let nodes = std::mem::take(&mut options.nodes);
        let mut cluster = Self::prepare(options);
        cluster.start_master();
        let word = fs::read_to_string(cluster.stage.path("master/state/admin.token"));
        cluster.set_token(word.expect("the master writes the first token").trim());
        for node in 0..nodes {
            cluster.start_node(node);
        }
        cluster.await_nodes(nodes);
        cluster
    }

    /// Starts a cluster whose master keeps its state on a disk of 32 MiB; none where nothing can be mounted.
    ///
    /// # Panics
    ///
    /// When something does not start.
    #[must_use]
    pub fn start_on_small_disk(options: ClusterOptions) -> Option<Self> {
        let mut cluster = Self::prepare(options.on_chosen_backend());
        let disk = cluster.stage.path("master/state");
        fs::create_dir_all(&disk).expect("the folder of a test can be written");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(&disk).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            return None;
        }
        cluster.disk = Some(disk);
        cluster.start_master();
        for node in 0..cluster.options.nodes {
            cluster.start_node(node);
        }
        cluster.await_nodes(cluster.options.nodes);
        Some(cluster)
    }

    /// Fills the small disk to its last byte.
    ///
    /// # Panics
    ///
    /// When the disk of the case cannot be filled.
    pub fn fill_disk(&self) {
        let path = self.stage.path("master/state/filler");
        let mut file = fs::File::create(path).expect("a file can be made");
        // It ends with an error: the disk is full.
        let _full = std::io::copy(&mut std::io::repeat(0), &mut file);
    }

    /// Makes room on the small disk again.
    ///
    /// # Panics
    ///
    /// When it cannot be freed.
    pub fn free_disk(&self) {
        fs::remove_file(self.stage.path("master/state/filler")).expect("the filler is there");
    }

    /// Shows this word with every request from now on.
    pub fn set_token(&mut self, word: &str) {
        self.token = Some(word.to_owned());
    }

    /// Runs a node with another configuration, which is expected to end by itself.
    pub fn run_stranger(&self, more: &Value) -> crate::Ended {
        let config = self.config("stranger", more);
        self.stage.run(&["node", "-c", &config.display().to_string()])
    }

    fn prepare(options: ClusterOptions) -> Self {
        let network = options.is_networked.then(|| Network::new(options.nodes));
        let host = network.as_ref().map_or("127.0.0.1".to_owned(), Network::master);
        let listener = TcpListener::bind((host.as_str(), 0)).expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        drop(listener);
        let stage = Stage::default();
        let clock = options.has_clock.then(|| Clock::new(stage.path("clock")));
        let name = format!("test-{}-{port}", std::process::id());
        let agent = api::agent();
        let nodes = (0..options.nodes).map(|_| None).collect();
        Self {
            stage,
            options,
            name,
            host,
            port,
            network,
            clock,
            master: None,
            nodes,
            agent,
            scheme: "http",
            token: None,
            disk: None,
        }
    }

    /// Returns the cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the URL of the API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }

    /// Returns the network, whose links can be cut.
    ///
    /// # Panics
    ///
    /// When the cluster shares the machine's loopback.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the case asked for a network")
    }

    /// Returns the clock, which can be moved.
    ///
    /// # Panics
    ///
    /// When the cluster goes by the machine's clock.
    pub fn clock(&self) -> &Clock {
        self.clock.as_ref().expect("the case asked for a clock")
    }

    fn config(&self, member: &str, more: &Value) -> PathBuf {
        let mut teraslice = json!({
            "name": self.name,
            "port": self.port,
            "bind": self.host,
            "api_unprotected": "anyone may run jobs here",
            "master_hostname": self.host,
            "cluster_secret": SECRET,
            "state_directory": self.stage.path(&format!("{member}/state")),
            "assets_directory": self.stage.path(&format!("{member}/assets")),
            "autoload_directory": self.stage.path("autoload"),
        });
        for extra in [&self.options.config, more] {
            for (key, value) in extra.as_object().expect("the configuration is an object") {
                teraslice[key] = value.clone();
            }
        }
        fs::create_dir_all(self.stage.path(member)).expect("the folder of a test can be written");
        let path = self.stage.path(&format!("{member}/config.json"));
        let mut foundation = json!({"log_level": "info"});
        for (key, value) in self.options.foundation.as_object().expect("the configuration is an object") {
            foundation[key] = value.clone();
        }
        if let Some(connectors) = self.options.connectors.clone().or_else(elastic::store) {
            foundation["connectors"] = connectors;
            let small = json!({"number_of_shards": 1, "number_of_replicas": 0});
            let stores = ["jobs", "execution", "state", "assets", "analytics"];
            teraslice["index_settings"] = stores.map(|store| (store, small.clone())).into_iter().collect();
        }
        let text = json!({"terafoundation": foundation, "teraslice": teraslice}).to_string();
        fs::write(&path, text).expect("the folder of a test can be written");
        path
    }

    fn spawn(&self, member: &str, mut command: Command, arguments: &[&str], config: &PathBuf) -> Child {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.stage.path(&format!("{member}.log")));
        command
            .args(arguments)
            .arg("-c")
            .arg(config)
            .current_dir(self.stage.path(""))
            .env_remove("TERAFOUNDATION_CONFIG")
            .env_remove("TERASLICE_STATE_DIRECTORY")
            .env("TERASLICE_NO_CGROUPS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the folder of a test can be written"));
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        if let Some(clock) = &self.clock {
            clock.apply(&mut command);
        }
        command.spawn().expect("the binary starts")
    }

    /// Starts the master, again if it has ended, and waits until its API is open.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn start_master(&mut self) {
        self.start_master_with(&[]);
    }

    /// As [`start_master`](Self::start_master), with further arguments.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn start_master_with(&mut self, arguments: &[&str]) {
        let (own, roles): (_, &[&str]) = match self.options.has_master_node {
            true => {
                (json!({"master": true, "node_id": "master", "workers": self.options.slots}), &["--node"])
            }
            false => (json!({}), &[]),
        };
        let config = self.config("master", &own);
        let arguments = [&["master"], roles, arguments].concat();
        self.master = Some(self.spawn("master", Command::new(binary()), &arguments, &config));
        self.await_open();
    }

    fn await_open(&self) {
        self.wait("the API to open", WAIT_MAX, |cluster| {
            cluster.try_get("/v1/health/ready").is_some_and(|answer| answer.status == 200).then_some(())
        });
    }

    /// Starts a node, again if it has ended. Returns at once.
    pub fn start_node(&mut self, node: usize) {
        let member = format!("node-{node}");
        let own = json!({"node_id": member, "workers": self.options.slots});
        let config = self.config(&member, &own);
        let command = match &self.network {
            Some(network) => network.command(node, &binary()),
            None => Command::new(binary()),
        };
        let child = self.spawn(&member, command, &["node"], &config);
        if node >= self.nodes.len() {
            self.nodes.resize_with(node + 1, || None);
        }
        self.nodes[node] = Some(child);
    }

    /// Waits until so many nodes are connected, where there are any.
    ///
    /// # Panics
    ///
    /// When they are not.
    pub fn await_nodes(&self, count: usize) {
        if self.options.is_foreign() {
            return;
        }
        self.wait(&format!("{count} nodes"), WAIT_MAX, |cluster| {
            let state = cluster.get("/cluster/state");
            let connected = state.as_object()?.values().filter(|node| node["state"] == "connected").count();
            (connected == count).then_some(())
        });
    }

    /// Kills the master; what it has started goes on.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill_master(&mut self) {
        let mut master = self.master.take().expect("the master runs");
        kill(master.id());
        let _reaped = master.wait();
    }

    /// Asks the master to end and waits for it; returns its exit code.
    ///
    /// # Panics
    ///
    /// When it does not run or end.
    pub fn stop_master(&mut self) -> Option<i32> {
        terminate(self.master.take().expect("the master runs"))
    }

    /// Kills a node's own process; what it has started goes on.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill_node(&mut self, node: usize) {
        let mut child = self.nodes[node].take().expect("the node runs");
        kill(child.id());
        let _reaped = child.wait();
    }

    /// Asks a node to end and waits for it; returns its exit code.
    ///
    /// # Panics
    ///
    /// When it does not run or end.
    pub fn stop_node(&mut self, node: usize) -> Option<i32> {
        terminate(self.nodes[node].take().expect("the node runs"))
    }

    fn try_get(&self, path: &str) -> Option<Answer> {
        self.send("GET", path, None)
    }

    /// Gets a path; returns the body of an answer that says 200.
    ///
    /// # Panics
    ///
    /// When it says something else.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        self.request("GET", path, None).body_of(&[200], &format!("GET {path}"))
    }

    /// Sends a request with a JSON body, if there is one.
    ///
    /// # Panics
    ///
    /// When it is not answered.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.send(method, path, body).unwrap_or_else(|| panic!("{method} {path} is not answered"))
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        api::send(&self.agent, &self.url(), self.token.as_deref(), method, path, body)
    }

    /// Posts; returns the body of an answer that says 200 or 201.
    ///
    /// # Panics
    ///
    /// When it says something else.
    pub fn post(&self, path: &str, body: Option<&Value>) -> Value {
        self.request("POST", path, body).body_of(&[200, 201], &format!("POST {path}"))
    }

    /// Uploads a bundle.
    ///
    /// # Panics
    ///
    /// When that is not answered.
    pub fn upload(&self, zip: &[u8]) -> Answer {
        let request = self.agent.post(format!("{}/v1/assets?blocking=true", self.url()));
        let sent = request.header("content-type", "application/octet-stream").send(zip);
        answer(sent).expect("an upload is answered")
    }

    /// Submits a job; returns its id and that of its execution.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn submit(&self, job: &Value) -> (String, String) {
        api::ids(&self.post("/v1/jobs", Some(job)))
    }

    /// Returns the record of an execution.
    #[must_use]
    pub fn execution(&self, ex_id: &str) -> Value {
        self.get(&format!("/v1/ex/{ex_id}"))
    }

    /// Waits until an execution has one of these statuses; returns its record.
    ///
    /// # Panics
    ///
    /// When it has ended otherwise, or the time is over.
    pub fn await_status(&self, ex_id: &str, wanted: &[&str]) -> Value {
        self.wait(&format!("execution {ex_id} to be {wanted:?}"), WAIT_MAX, |cluster| {
            api::record(cluster.try_get(&format!("/v1/ex/{ex_id}")), wanted)
        })
    }

    /// Returns the process numbers of an execution in a role (`worker`, `execution_controller`), with the node of each.
    ///
    /// # Panics
    ///
    /// When the answer is no state of a cluster.
    #[must_use]
    pub fn processes(&self, ex_id: &str, role: &str) -> Vec<(String, u32)> {
        if self.options.is_foreign() {
            // The backend does not say which processes they are.
            let marks = [format!("TERASLICE_EX_ID={ex_id}"), format!("NODE_TYPE={role}")];
            let is_meant = |pid: &u32| marks.iter().all(|mark| has_variable(*pid, |it| it == mark));
            return self.started().into_iter().filter(is_meant).map(|pid| ("mine".to_owned(), pid)).collect();
        }
        let state = self.get("/cluster/state");
        let nodes = state.as_object().expect("the state is an object by node").iter();
        let all = nodes.flat_map(|(name, node)| {
            let active = node["active"].as_array().cloned().unwrap_or_default();
            active.into_iter().map(move |process| (name.clone(), process))
        });
        let wanted = all.filter(|(_, process)| process["ex_id"] == ex_id && process["assignment"] == role);
        let numbers = wanted.filter_map(|(name, process)| Some((name, process["pid"].as_u64()?)));
        numbers.filter_map(|(name, pid)| Some((name, u32::try_from(pid).ok()?))).collect()
    }

    /// Waits until so many processes of a role run for an execution; returns them.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub fn await_processes(&self, ex_id: &str, role: &str, count: usize) -> Vec<(String, u32)> {
        self.wait(&format!("{count} of {role}"), WAIT_MAX, |cluster| {
            let found = cluster.processes(ex_id, role);
            (found.len() == count).then_some(found)
        })
    }

    /// Waits until no process of any execution runs any more, as the system sees it.
    ///
    /// # Panics
    ///
    /// When some are left.
    pub fn await_quiet(&self) {
        self.wait("all processes of executions to end", WAIT_MAX, |cluster| {
            cluster.started().is_empty().then_some(())
        });
    }

    /// Returns the processes that nodes of this cluster have started, found by their environment.
    #[must_use]
    pub fn started(&self) -> Vec<u32> {
        let mark = format!("TERASLICE_CLUSTER={}", self.name);
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
        numbers.filter(|pid| has_variable(*pid, |it| it.starts_with(&mark))).collect()
    }

    /// Waits for something, with a limit.
    ///
    /// # Panics
    ///
    /// When the time is over; the logs are shown.
    #[expect(clippy::disallowed_methods, reason = "a case waits for real processes")]
    pub fn wait<T>(&self, what: &str, limit: Duration, look: impl Fn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(start.elapsed() < limit, "waited {limit:?} for {what}\n{}", self.logs());
            sleep(LOOK_EVERY);
        }
    }

    /// Returns the ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let files = fs::read_dir(self.stage.path("")).into_iter().flatten().flatten();
        let logs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
        let show = |file: fs::DirEntry| {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            format!("--- {}\n{end}\n", file.path().display())
        };
        logs.map(show).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().chain([&mut self.master]).filter_map(Option::as_mut) {
            kill(child.id());
            let _reaped = child.wait();
        }
        // A process that was being started may show up a moment later.
        for _ in 0..50 {
            let left = self.started();
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(kill);
            sleep(LOOK_EVERY);
        }
        elastic::forget(&self.agent, &self.name);
        if let Some(disk) = &self.disk {
            let _unmounted = Command::new("umount").arg("-l").arg(disk).output();
        }
    }
}

/// Tells whether a process was started with such a variable, `NAME=VALUE`.
fn has_variable(pid: u32, is_meant: impl Fn(&str) -> bool) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| is_meant(&String::from_utf8_lossy(variable)))
}

fn terminate(child: Child) -> Option<i32> {
    crate::terminate(child.id());
    crate::finish(child, WAIT_MAX).code
}
