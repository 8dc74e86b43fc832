//! The cluster itself: what goes wrong with it, simulated nodes, a search server beside it.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{elastic, root};

/// Something wrong with the cluster until this is dropped.
#[derive(Debug)]
pub struct Fault {
    program: PathBuf,
    undo: [&'static str; 2],
}

impl Fault {
    /// Makes a component (`kube-apiserver`) hang.
    ///
    /// # Panics
    ///
    /// When it cannot be, as with the other faults.
    #[must_use]
    pub fn paused(component: &'static str) -> Self {
        Self::new(script("ctl"), ["pause", component], ["resume", component])
    }

    /// Cuts a node (`n2`; not the first) off the network; what runs there goes on.
    #[must_use]
    pub fn unplugged(node: &'static str) -> Self {
        Self::new(script("ctl"), ["unplug", node], ["plug", node])
    }

    /// Lets no new pods onto a node.
    #[must_use]
    pub fn cordoned(node: &'static str) -> Self {
        Self::new("kubectl".into(), ["cordon", node], ["uncordon", node])
    }

    fn new(program: PathBuf, make: [&'static str; 2], undo: [&'static str; 2]) -> Self {
        run(&program.to_string_lossy(), &make);
        Self { program, undo }
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        run(&self.program.to_string_lossy(), &self.undo);
    }
}

/// Simulated nodes (`fake-1`, ...), labelled `type: kwok`, for pods that bear their taint; gone at the end.
#[derive(Debug)]
pub struct FakeNodes {
    kwok: Child,
    count: u32,
}

impl FakeNodes {
    /// Makes so many.
    ///
    /// # Panics
    ///
    /// When they cannot be.
    #[must_use]
    pub fn start(count: u32) -> Self {
        let stages = root().join("tests/k8s/kwok.yaml");
        let mut kwok = Command::new("kwok");
        kwok.args(["--manage-all-nodes=false", "--node-lease-duration-seconds", "40", "--config"])
            .arg(stages);
        kwok.args(["--manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake", "--kubeconfig"]);
        kwok.arg(env::var_os("KUBECONFIG").expect("KUBECONFIG leads to the cluster"));
        let kwok = kwok.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let nodes = Self { kwok: kwok.expect("kwok is beside kubectl"), count };
        let room = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
        let node = |number: u32| {
            let name = format!("fake-{number}");
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {
                    "name": name, "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
                },
                "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
                "status": {"allocatable": room, "capacity": room},
            })
        };
        let all =
            json!({"apiVersion": "v1", "kind": "List", "items": (1..=count).map(node).collect::<Vec<_>>()});
        let file = tempfile::NamedTempFile::new().expect("the folder for temporary files can be written");
        fs::write(file.path(), all.to_string()).expect("the folder for temporary files can be written");
        run("kubectl", &["create", "--filename", &file.path().to_string_lossy()]);
        nodes
    }
}

impl Drop for FakeNodes {
    fn drop(&mut self) {
        let names: Vec<_> = (1..=self.count).map(|number| format!("fake-{number}")).collect();
        drop(Command::new("kubectl").args(["delete", "node"]).args(names).output());
        drop(self.kwok.kill());
        drop(self.kwok.wait());
    }
}

/// A search server on the first node, until this is dropped.
#[derive(Debug)]
pub struct SearchServer {
    folder: tempfile::TempDir,
    /// Its address in the cluster's network.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl SearchServer {
    /// Starts one; none where the scripts that do it are not (`TERASLICE_SERVICES` names their folder).
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().expect("the folder for temporary files can be written");
        let place = folder.path().to_string_lossy().into_owned();
        let up = ["up", "--host", "10.77.0.1", "--port", "0", "--dir", &place];
        let address = run(&script("run").to_string_lossy(), &[&[program.as_str()][..], &up].concat());
        let address = address.trim().rsplit('/').next().unwrap_or_default();
        let (host, port) = address.split_once(':').expect("it prints its address");
        Some(Self { host: host.to_owned(), port: port.parse().expect("it prints its address"), folder })
    }

    /// Returns how many documents an index has.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[must_use]
    pub fn count(&self, index: &str) -> u64 {
        self.count_where(index, "*")
    }

    /// Returns how many documents of an index a query finds.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[must_use]
    pub fn count_where(&self, index: &str, query: &str) -> u64 {
        let url = format!("http://{}:{}/{index}", self.host, self.port);
        let ask = |path: &str| {
            run(&script("run").to_string_lossy(), &["curl", "--silent", "--fail", &format!("{url}/{path}")])
        };
        ask("_refresh");
        let counted: Value =
            serde_json::from_str(&ask(&format!("_count?q={query}"))).expect("a server answers with JSON");
        counted["count"].as_u64().expect("a server counts")
    }
}

impl Drop for SearchServer {
    fn drop(&mut self) {
        if let Some(program) = program() {
            drop(Command::new(program).arg("down").arg("--dir").arg(self.folder.path()).output());
        }
    }
}

fn program() -> Option<String> {
    let program = fs::canonicalize(elastic::services().join("opensearch")).ok()?;
    Some(program.to_string_lossy().into_owned())
}

/// Returns how many requests of service accounts outside `kube-system` the API server has answered: those of our masters.
///
/// # Panics
///
/// When it does not say.
#[must_use]
pub fn requests_of_masters() -> f64 {
    let metrics = run("kubectl", &["get", "--raw", "/metrics"]);
    let counts = metrics.lines().filter(|line| {
        line.starts_with("apiserver_flowcontrol_dispatched_requests_total")
            && line.contains("flow_schema=\"service-accounts\"")
    });
    let counts = counts.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    counts.sum()
}

pub(super) fn script(name: &str) -> PathBuf {
    PathBuf::from(env::var_os("TERASLICE_KUBE").expect("TERASLICE_KUBE names the folder of scripts"))
        .join(name)
}

pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}
