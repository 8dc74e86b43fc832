//! The objects of the fake API server, their versions, and those who watch them.

use std::collections::BTreeMap;

use futures::channel::mpsc;
use k8s_openapi::jiff;
use serde_json::{Value, json};
use teraslice_model::timestamp::Timestamp;

use super::Request;

/// Who follows the objects of a kind.
struct Watcher {
    plural: String,
    labels: String,
    fields: String,
    changes: mpsc::UnboundedSender<Value>,
}

/// A change that watches tell.
struct Change {
    version: u64,
    plural: String,
    event: Value,
}

/// The objects of one namespace.
#[derive(Default)]
pub(crate) struct Objects {
    version: u64,
    by_name: BTreeMap<(String, String), Value>,
    history: Vec<Change>,
    watchers: Vec<Watcher>,
}

impl Objects {
    /// Makes an object, or takes the place of the one that has its name; returns it.
    pub(crate) fn put(&mut self, plural: &str, mut object: Value) -> Value {
        let name = text(&object, "/metadata/name").to_owned();
        let key = (plural.to_owned(), name);
        let known = self.by_name.get(&key);
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.version += 1;
        let uid =
            known.map_or_else(|| format!("uid-{}", self.version), |it| text(it, "/metadata/uid").to_owned());
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(uid);
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
        self.by_name.insert(key, object.clone());
        self.tell(plural, kind, &object);
        object
    }

    /// Changes an object.
    pub(crate) fn change(&mut self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut object = self.get(plural, name).unwrap();
        change(&mut object);
        self.put(plural, object)
    }

    /// Takes an object away.
    pub(crate) fn remove(&mut self, plural: &str, name: &str) {
        let Some(mut object) = self.by_name.remove(&(plural.to_owned(), name.to_owned())) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell(plural, "DELETED", &object);
    }

    /// Changes something of which watches say nothing.
    pub(crate) fn in_secret(&mut self, change: impl FnOnce(&mut Self)) {
        let watchers = std::mem::take(&mut self.watchers);
        change(self);
        self.history.clear();
        self.watchers = watchers;
    }

    /// Ends all watches, with something to say before if it is an object.
    pub(crate) fn end_watches(&mut self, last: &Value) {
        for watcher in self.watchers.drain(..) {
            if last.is_object() {
                watcher.changes.unbounded_send(last.clone()).unwrap_or_default();
            }
        }
    }

    /// Returns an object.
    pub(crate) fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.by_name.get(&(plural.to_owned(), name.to_owned())).cloned()
    }

    /// Lists the objects of a kind.
    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let of_kind = self.by_name.iter().filter(|((of, _), _)| of == plural);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// Makes the pods of all Jobs, running, as the Job controller and nodes would.
    pub(crate) fn run_jobs(&mut self) {
        for job in self.all("jobs") {
            let count = job["spec"]["parallelism"].as_u64().unwrap();
            for index in 0..count {
                let name = format!("{}-{index}", text(&job, "/metadata/name"));
                if self.get("pods", &name).is_none() {
                    self.put("pods", pod(&job, &name, index));
                }
            }
        }
    }

    /// Ends the pods that were told to, as nodes would.
    pub(crate) fn end_pods(&mut self) {
        for pod in self.all("pods") {
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                self.remove("pods", text(&pod, "/metadata/name"));
            }
        }
    }

    /// Lets a request watch: what has changed already, and what will.
    pub(super) fn watch(&mut self, request: &Request) -> (Vec<Value>, mpsc::UnboundedReceiver<Value>) {
        let (changes, receiver) = mpsc::unbounded();
        let watcher = Watcher {
            plural: request.plural.clone(),
            labels: request.query("labelSelector").to_owned(),
            fields: request.query("fieldSelector").to_owned(),
            changes,
        };
        let since: u64 = request.query("resourceVersion").parse().unwrap();
        let is_meant = |change: &&Change| {
            change.version > since
                && watcher.plural == change.plural
                && watcher.wants(&change.event["object"])
        };
        let early = self.history.iter().filter(is_meant).map(|change| change.event.clone()).collect();
        self.watchers.push(watcher);
        (early, receiver)
    }

    /// Answers a request that is no watch: a code and a body.
    pub(super) fn answer(&mut self, request: &Request, now: Timestamp) -> (u16, Value) {
        let plural = request.plural.as_str();
        let of_body = text(&request.body, "/metadata/name");
        let name = request.name.as_deref().unwrap_or(of_body);
        let known = self.get(plural, name);
        match (request.method.as_str(), known) {
            ("GET", _) if request.name.is_none() => (200, self.list(request)),
            ("GET", Some(object)) => (200, object),
            ("POST", None) => (201, self.put(plural, request.body.clone())),
            ("POST", Some(_)) => (409, status(409, &format!("{plural} \"{name}\" already exists"))),
            ("PATCH", None) if request.content_type.contains("apply") => {
                let mut object = request.body.clone();
                object["metadata"]["creationTimestamp"] = json!(rfc3339(now));
                (201, self.put(plural, object))
            }
            ("PATCH", Some(known)) => {
                let mut object = known.clone();
                merge(&mut object, &request.body);
                (200, if object == known { known } else { self.put(plural, object) })
            }
            ("PUT", Some(known)) => {
                let version = "/metadata/resourceVersion";
                match text(&known, version) == text(&request.body, version) {
                    true => (200, self.put(plural, request.body.clone())),
                    false => (409, status(409, "the object has been modified")),
                }
            }
            ("DELETE", Some(known)) => self.delete(plural, &known, &request.body, now),
            _ => (404, not_found(plural, name)),
        }
    }

    fn list(&self, request: &Request) -> Value {
        let (labels, fields) = (request.query("labelSelector"), request.query("fieldSelector"));
        let mut items = self.all(&request.plural);
        items.retain(|item| has_labels(item, labels) && has_fields(item, fields));
        json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }

    /// Deletes an object and, as the garbage collector would, what it owns; pods stay until they have ended.
    fn delete(&mut self, plural: &str, object: &Value, options: &Value, now: Timestamp) -> (u16, Value) {
        let (name, uid) = (text(object, "/metadata/name"), text(object, "/metadata/uid"));
        let wanted = text(options, "/preconditions/uid");
        if !wanted.is_empty() && wanted != uid {
            return (409, status(409, "the UID in the precondition does not match"));
        }
        let grace_s = options["gracePeriodSeconds"].as_i64();
        if plural == "pods" && grace_s != Some(0) {
            let gone = rfc3339(Timestamp::from_millis(now.as_millis() + grace_s.unwrap_or(70) * 1_000));
            return (
                200,
                self.change(plural, name, |pod| pod["metadata"]["deletionTimestamp"] = json!(gone)),
            );
        }
        self.remove(plural, name);
        for owned in ["jobs", "pods"] {
            for object in self.all(owned) {
                if text(&object, "/metadata/ownerReferences/0/uid") == uid {
                    self.delete(owned, &object, &Value::Null, now);
                }
            }
        }
        (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    fn tell(&mut self, plural: &str, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.watchers.retain(|watcher| {
            let is_meant = watcher.plural == plural && watcher.wants(object);
            !is_meant || watcher.changes.unbounded_send(event.clone()).is_ok()
        });
        self.history.push(Change { version: self.version, plural: plural.to_owned(), event });
    }
}

impl Watcher {
    fn wants(&self, object: &Value) -> bool {
        has_labels(object, &self.labels) && has_fields(object, &self.fields)
    }
}

/// Returns a status object that says no.
pub(crate) fn status(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": "",
        "code": code,
    })
}

/// Writes a time as Kubernetes does.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.as_millis()).unwrap().to_string()
}

fn not_found(plural: &str, name: &str) -> Value {
    let mut status = status(404, &format!("{plural} \"{name}\" not found"));
    status["reason"] = json!("NotFound");
    status["details"] = json!({"name": name, "kind": plural});
    status
}

fn pod(job: &Value, name: &str, index: u64) -> Value {
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]});
    json!({
        "metadata": {
            "name": name, "labels": labels, "ownerReferences": [owner],
            "annotations": {"batch.kubernetes.io/job-completion-index": index.to_string()},
        },
        "status": {"phase": "Running"},
    })
}

fn has_labels(object: &Value, selector: &str) -> bool {
    let mut wanted = selector.split(',').filter_map(|term| term.split_once('='));
    wanted.all(|(key, value)| object["metadata"]["labels"][key] == value)
}

fn has_fields(object: &Value, selector: &str) -> bool {
    let mut wanted = selector.split(',').filter_map(|term| term.split_once('='));
    wanted.all(|(key, value)| text(object, &format!("/{}", key.replace('.', "/"))) == value)
}

fn merge(object: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *object = change.clone();
        return;
    };
    for (key, value) in fields {
        merge(&mut object[key], value);
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
