//! Teraslice on a real Kubernetes cluster, set up as `examples/k8s` does it.
//!
//! `TERASLICE_KUBE` is the folder of scripts that have started the cluster (`pv`, `forward`, `ctl`), `KUBECONFIG` leads to it, and
//! `TERASLICE_K8S_IMAGE` is loaded there: `make test-k8s` sees to all three.

use std::{
    fs,
    os::unix::fs::chown,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    api::{self, Answer, agent, agent_believing},
    binary, root,
};

mod cluster;

pub use cluster::{FakeNodes, Fault, SearchServer, requests_of_masters};
use cluster::{run, script};

/// Everything that is waited for has to happen within this, unless a case says otherwise.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
/// While something is waited for, it is looked this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The label of masters.
const MASTERS: &str = "app.kubernetes.io/component=master";
/// The user of the image.
const USER: u32 = 10_001;

/// An installation in a namespace of its own; gone at the end.
#[derive(Debug)]
pub struct Installation {
    /// Its namespace.
    pub namespace: String,
    /// Where the volumes lie on this machine, which is every node's.
    folder: tempfile::TempDir,
    url: String,
    agent: ureq::Agent,
}

impl Installation {
    /// Sets it up, with more keys under `teraslice` for the master.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    pub fn start(name: &str, more: &[(&str, &str)]) -> Self {
        let installation = Self::prepare(name).launch(None);
        if !more.is_empty() {
            installation.configure(more);
            installation.await_ready();
        }
        installation
    }

    /// Sets it up with the rights of earlier installations: the master is the account `default`, which may do everything.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    pub fn start_wide(name: &str) -> Self {
        Self::prepare(name).launch(Some(("VARIANT", "wide")))
    }

    /// Sets it up with its state on a search server, which master and pods reach as `http://elasticsearch:9200`.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    pub fn start_on(name: &str, server: &SearchServer) -> Self {
        let installation = Self::prepare(name);
        installation.lead_to(server);
        installation.launch(Some(("ELASTICSEARCH", "1")))
    }

    /// Sets it up with encrypted links, as the documents say it, by an authority that the master makes.
    ///
    /// # Panics
    ///
    /// When that fails.
    #[must_use]
    pub fn start_encrypted(name: &str) -> Self {
        let mut installation = Self::start(name, &[]);
        installation.rewrite("teraslice-master", |text| text + "  tls: {}\n");
        let probe = json!({"httpGet": {"scheme": "HTTPS"}});
        let container =
            json!({"name": "master", "startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe});
        let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string();
        installation.kubectl(&["patch", "deployment/teraslice-master", "--patch", &patch]);
        installation.await_master();
        let authority = fs::read(installation.folder.path().join("teraslice-state/ca.pem"));
        installation.agent = agent_believing(&authority.expect("the master has made an authority"));
        installation.url = installation.url.replace("http:", "https:");
        installation.await_ready();
        installation
    }

    /// Makes its volumes.
    fn prepare(name: &str) -> Self {
        let namespace = format!("ts-{name}-{}", std::process::id());
        let folder = tempfile::tempdir().expect("the folder for temporary files can be written");
        let installation = Self { namespace, folder, url: String::new(), agent: agent() };
        for claim in ["teraslice-assets", "teraslice-state"] {
            installation.volume(claim);
        }
        installation
    }

    /// Makes the rest, with a variable of the example's Makefile, and waits until the API answers.
    fn launch(mut self, variable: Option<(&str, &str)>) -> Self {
        self.make_with("setup", variable);
        self.url = format!("http://{}", self.forward());
        self.await_ready();
        self
    }

    /// Makes a volume that a claim of this name in the namespace gets; returns its folder.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn volume(&self, claim: &str) -> PathBuf {
        let folder = self.folder.path().join(claim);
        fs::create_dir_all(&folder).expect("the folder of a test can be written");
        chown(&folder, Some(USER), Some(USER)).expect("this is root");
        let name = format!("{}-{claim}", self.namespace);
        let made =
            Command::new(script("pv")).arg(&name).arg(&folder).output().expect("TERASLICE_KUBE has pv");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let reserved = json!({"spec": {"claimRef": {"namespace": self.namespace, "name": claim}}});
        run(
            "kubectl",
            &["patch", "persistentvolume", &name, "--type", "merge", "--patch", &reserved.to_string()],
        );
        folder
    }

    /// Makes a claim and its volume; returns the folder.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn claim(&self, name: &str) -> PathBuf {
        let folder = self.volume(name);
        self.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteMany"], "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }));
        folder
    }

    /// Applies an object.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn apply(&self, object: &Value) {
        let path = self.folder.path().join("object.json");
        fs::write(&path, object.to_string()).expect("the folder of a test can be written");
        let path = path.to_string_lossy().into_owned();
        self.kubectl(&["apply", "--filename", &path]);
    }

    /// Runs a target of the example's Makefile in this namespace.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn make(&self, target: &str) -> String {
        self.make_with(target, None)
    }

    fn make_with(&self, target: &str, variable: Option<(&str, &str)>) -> String {
        let folder = root().join("examples/k8s");
        let mut make = Command::new("make");
        make.arg("-C").arg(folder).arg(target).env("STORAGE_CLASS", "none").env("NAMESPACE", &self.namespace);
        let done = make.envs(variable).env("TERASLICE", binary()).output().expect("there is make");
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "make {target}: {said}");
        said
    }

    /// Makes the namespace, and the service of the search server in it.
    fn lead_to(&self, server: &SearchServer) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {"app.kubernetes.io/part-of": "teraslice-example"}},
        }));
        let port = json!([{"name": "http", "port": 9200, "targetPort": server.port}]);
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "elasticsearch"}, "spec": {"ports": port},
        }));
        self.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "elasticsearch-1", "labels": {"kubernetes.io/service-name": "elasticsearch"}},
            "endpoints": [{"addresses": [server.host]}], "ports": [{"name": "http", "port": server.port}],
        }));
    }

    /// Sets more keys of the master's configuration, and restarts it.
    fn configure(&self, more: &[(&str, &str)]) {
        self.rewrite("teraslice-master", |mut text| {
            for (key, value) in more {
                text.push_str(&format!("  {key}: {value}\n"));
            }
            text
        });
        self.restart_master();
    }

    /// Changes the configuration in a ConfigMap.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn rewrite(&self, map: &str, change: impl Fn(String) -> String) {
        let map = format!("configmap/{map}");
        let found = self.objects(&map);
        let text = found["data"]["teraslice.yaml"].as_str().expect("the map has the file").to_owned();
        let patch = json!({"data": {"teraslice.yaml": change(text)}}).to_string();
        self.kubectl(&["patch", &map, "--type", "merge", "--patch", &patch]);
    }

    /// Waits until the master is ready.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn await_ready(&self) {
        self.wait("the API", WAIT_MAX, |it| it.try_get("/v1/health/ready").filter(|it| it.status == 200));
    }

    /// Replaces the master's pod, and waits for the new one.
    pub fn restart_master(&self) {
        self.kubectl(&["rollout", "restart", "deployment/teraslice-master"]);
        self.await_master();
    }

    fn await_master(&self) {
        self.kubectl(&["rollout", "status", "deployment/teraslice-master", "--timeout", "180s"]);
    }

    /// Returns the memory of the master's pod, in bytes.
    ///
    /// # Panics
    ///
    /// When its node does not know.
    #[must_use]
    pub fn memory_of_master(&self) -> u64 {
        let masters = self.masters();
        let master = masters.first().expect("there is a master");
        let node = master["spec"]["nodeName"].as_str().expect("it runs");
        let stats = run("kubectl", &["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/stats/summary")]);
        let stats: Value = serde_json::from_str(&stats).expect("a node answers with JSON");
        let pods = stats["pods"].as_array().expect("a node lists its pods");
        let pod = pods.iter().find(|pod| pod["podRef"]["uid"] == master["metadata"]["uid"]);
        pod.and_then(|pod| pod["memory"]["rssBytes"].as_u64()).expect("a node measures its pods")
    }

    /// Leads an address of this machine to the master's service, whichever pod is behind it.
    fn forward(&self) -> String {
        let service = self.objects("service/teraslice-master");
        let address = service["spec"]["clusterIP"].as_str().expect("a service has an address");
        run(&script("forward").to_string_lossy(), &[&format!("{address}:5678")]).trim().to_owned()
    }

    /// Runs kubectl in the namespace; returns what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        run("kubectl", &[&["--namespace", &self.namespace], arguments].concat())
    }

    /// Returns an object, or a list of them: `pods`, `job/NAME`.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn objects(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", what, "--output", "json"])).expect("kubectl prints JSON")
    }

    /// Returns the pods of an execution in a role (`worker`, `execution_controller`).
    ///
    /// # Panics
    ///
    /// When they cannot be listed.
    #[must_use]
    pub fn pods(&self, ex_id: &str, role: &str) -> Vec<Value> {
        self.selected(&format!("teraslice.terascope.io/exId={ex_id},app.kubernetes.io/component={role}"))
    }

    /// Returns the pods of masters.
    ///
    /// # Panics
    ///
    /// When they cannot be listed.
    #[must_use]
    pub fn masters(&self) -> Vec<Value> {
        self.selected(MASTERS)
    }

    /// Deletes the master's pod, which has a second to end.
    ///
    /// # Panics
    ///
    /// When it cannot be.
    pub fn delete_master(&self) {
        self.kubectl(&["delete", "pod", "--selector", MASTERS, "--grace-period", "1"]);
    }

    fn selected(&self, labels: &str) -> Vec<Value> {
        let listed = self.kubectl(&["get", "pods", "--selector", labels, "--output", "json"]);
        let listed: Value = serde_json::from_str(&listed).expect("kubectl prints JSON");
        listed["items"].as_array().expect("a list has items").clone()
    }

    /// Waits until so many pods of a role run for an execution, and no other does; returns them.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub fn await_pods(&self, ex_id: &str, role: &str, count: usize) -> Vec<Value> {
        let is_running = |pod: &Value| {
            pod["status"]["phase"] == "Running" && pod["metadata"].get("deletionTimestamp").is_none()
        };
        self.wait(&format!("{count} pods of {role}"), WAIT_MAX, |it| {
            let pods = it.pods(ex_id, role);
            (pods.len() == count && pods.iter().all(is_running)).then_some(pods)
        })
    }

    /// Waits until nothing of an execution is left.
    ///
    /// # Panics
    ///
    /// When something is.
    pub fn await_gone(&self, ex_id: &str) {
        let labels = format!("teraslice.terascope.io/exId={ex_id}");
        self.wait(&format!("execution {ex_id} to leave nothing"), WAIT_MAX, |it| {
            let left = it.kubectl(&["get", "jobs,pods", "--selector", &labels, "--output", "name"]);
            left.trim().is_empty().then_some(())
        });
    }

    /// Sends a request with a JSON body, if there is one; none when it is not answered.
    ///
    /// # Panics
    ///
    /// When the path is none.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        api::send(&self.agent, &self.url, None, method, path, body)
    }

    fn try_get(&self, path: &str) -> Option<Answer> {
        self.request("GET", path, None)
    }

    /// Returns the body of an answer that says 200.
    ///
    /// # Panics
    ///
    /// When there is no such answer.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.try_get(path).unwrap_or_else(|| panic!("GET {path} is not answered"));
        answer.body_of(&[200], &format!("GET {path}"))
    }

    /// Posts; returns the body of an answer that says 200 or 201.
    ///
    /// # Panics
    ///
    /// When it says something else.
    pub fn post(&self, path: &str, body: Option<&Value>) -> Value {
        let answer =
            self.request("POST", path, body).unwrap_or_else(|| panic!("POST {path} is not answered"));
        answer.body_of(&[200, 201], &format!("POST {path}"))
    }

    /// Submits a job; returns its id and that of its execution.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn submit(&self, job: &Value) -> (String, String) {
        api::ids(&self.post("/v1/jobs", Some(job)))
    }

    /// Waits until an execution has one of these statuses; returns its record.
    ///
    /// # Panics
    ///
    /// When it has ended otherwise, or the time is over.
    pub fn await_status(&self, ex_id: &str, wanted: &[&str]) -> Value {
        self.wait(&format!("execution {ex_id} to be {wanted:?}"), WAIT_MAX, |it| {
            api::record(it.try_get(&format!("/v1/ex/{ex_id}")), wanted)
        })
    }

    /// Stops a job, and waits until nothing of its execution is left.
    ///
    /// # Panics
    ///
    /// When it does not stop.
    pub fn stop(&self, job_id: &str, ex_id: &str) {
        self.post(&format!("/v1/jobs/{job_id}/_stop"), None);
        self.await_status(ex_id, &["stopped"]);
        self.await_gone(ex_id);
    }

    /// Waits for something, with a limit.
    ///
    /// # Panics
    ///
    /// When the time is over; what is in the namespace is shown.
    #[expect(clippy::disallowed_methods, reason = "a case waits for a real cluster")]
    pub fn wait<T>(&self, what: &str, limit: Duration, look: impl Fn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if start.elapsed() > limit {
                panic!("waited {limit:?} for {what}\n{}", self.report());
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Returns what is in the namespace, and what pods have said last.
    fn report(&self) -> String {
        let mut report = self.kubectl(&["get", "jobs,pods", "--output", "wide"]);
        report += &self.kubectl(&["get", "events", "--sort-by", ".lastTimestamp"]);
        for component in ["master", "execution_controller", "worker"] {
            let label = format!("app.kubernetes.io/component={component}");
            report += &format!("--- {component}\n");
            report += &self.kubectl(&["logs", "--selector", &label, "--tail", "40", "--prefix"]);
        }
        report
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let delete = |what: &[&str]| drop(Command::new("kubectl").arg("delete").args(what).output());
        // What runs is waited for; the rest of the namespace, for which a cluster takes 10 s, is not.
        let at_once = ["--all", "--grace-period", "1", "--timeout", "60s"];
        delete(&[&["--namespace", &self.namespace, "deployments,jobs,pods"], &at_once[..]].concat());
        delete(&["namespace", &self.namespace, "--wait=false"]);
        for claim in ["teraslice-assets", "teraslice-state"] {
            delete(&["persistentvolume", &format!("{}-{claim}", self.namespace), "--wait=false"]);
        }
    }
}
