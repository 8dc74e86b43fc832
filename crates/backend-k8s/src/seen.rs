//! Objects of the cluster, reduced to what is of interest here.

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde::Serialize;
use teraslice_core::backend::{Instance, InstanceId, Phase, Role};
use teraslice_model::{
    id::{ExId, Generation, JobId},
    timestamp::Timestamp,
};

use crate::{labels, phase};

/// Which of the workers a pod is.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What an object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Purpose {
    /// The execution.
    pub ex_id: ExId,
    /// Its job.
    pub job_id: JobId,
    /// The controller object.
    pub generation: Generation,
    /// What runs.
    pub role: Role,
}

impl Purpose {
    /// Returns what there is one Job for.
    pub(crate) const fn place(&self) -> (ExId, Generation, Role) {
        (self.ex_id, self.generation, self.role)
    }
}

/// Something that the API server knows by name, version and unique id.
pub(crate) trait Seen: Clone {
    /// The object as the API server has it.
    type Object;

    /// Reduces an object; none if it is none of ours.
    fn new(object: &Self::Object) -> Option<Self>;

    /// Returns its identity.
    fn identity(&self) -> &Identity;

    /// Returns its execution, if it has one.
    fn ex_id(&self) -> Option<ExId>;
}

/// Which object, and as of which change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Grows with every change of any object of its kind.
    pub(crate) version: u64,
    /// Whether it is being deleted, and since when it should be gone.
    pub(crate) deleted: Option<Timestamp>,
}

/// A Job of ours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeenJob {
    pub(crate) identity: Identity,
    pub(crate) purpose: Purpose,
    /// Pods that it keeps.
    pub(crate) parallelism: u32,
    pub(crate) is_suspended: bool,
    pub(crate) is_finished: bool,
    pub(crate) since: Timestamp,
}

/// A pod of the cluster: a controller, a worker, or one without an execution, such as the master.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeenPod {
    pub(crate) identity: Identity,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) component: String,
    pub(crate) ordinal: u32,
    pub(crate) phase: Phase,
    pub(crate) since: Timestamp,
    /// The address of its machine, once it has one.
    pub(crate) node: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) image: String,
}

impl Seen for SeenJob {
    type Object = Job;

    fn new(job: &Job) -> Option<Self> {
        let spec = job.spec.as_ref()?;
        let ended = |kind: &str| kind == "Complete" || kind == "Failed" || kind == "FailureTarget";
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        Some(Self {
            identity: identity(&job.metadata),
            purpose: purpose(&job.metadata)?,
            parallelism: spec.parallelism.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            is_suspended: spec.suspend == Some(true),
            is_finished: conditions.into_iter().any(|it| ended(&it.type_) && it.status == "True"),
            since: time(job.metadata.creation_timestamp.as_ref()),
        })
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn ex_id(&self) -> Option<ExId> {
        Some(self.purpose.ex_id)
    }
}

impl Seen for SeenPod {
    type Object = Pod;

    fn new(pod: &Pod) -> Option<Self> {
        let label = |name: &str| pod.metadata.labels.as_ref()?.get(name).cloned();
        let index = pod.metadata.annotations.as_ref().and_then(|all| all.get(INDEX));
        let status = pod.status.as_ref();
        let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone());
        let started = status.and_then(|status| status.start_time.as_ref());
        Some(Self {
            identity: identity(&pod.metadata),
            purpose: purpose(&pod.metadata),
            component: label(labels::COMPONENT)?,
            ordinal: index.and_then(|index| index.parse().ok()).unwrap_or(0),
            phase: phase::of(pod),
            since: time(started.or(pod.metadata.creation_timestamp.as_ref())),
            node: status.and_then(|status| status.host_ip.clone()),
            ip: status.and_then(|status| status.pod_ip.clone()),
            image: image.unwrap_or_default(),
        })
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn ex_id(&self) -> Option<ExId> {
        self.purpose.map(|purpose| purpose.ex_id)
    }
}

impl SeenPod {
    /// Returns the pod as an instance; none for one without an execution.
    pub(crate) fn instance(&self) -> Option<Instance> {
        let purpose = self.purpose?;
        Some(Instance {
            id: InstanceId(self.identity.uid.clone()),
            ex_id: purpose.ex_id,
            generation: purpose.generation,
            role: purpose.role,
            ordinal: self.ordinal,
            phase: self.phase.clone(),
            address: None,
            since: self.since,
        })
    }
}

fn identity(meta: &ObjectMeta) -> Identity {
    let version = meta.resource_version.as_deref().and_then(|version| version.parse().ok());
    Identity {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        version: version.unwrap_or_default(),
        deleted: meta.deletion_timestamp.as_ref().map(|at| time(Some(at))),
    }
}

fn purpose(meta: &ObjectMeta) -> Option<Purpose> {
    let label = |name: &str| meta.labels.as_ref()?.get(name);
    Some(Purpose {
        ex_id: label(labels::EX_ID)?.parse().ok()?,
        job_id: label(labels::JOB_ID)?.parse().ok()?,
        generation: Generation(label(labels::GENERATION)?.parse().ok()?),
        role: Role::of_node_type(label(labels::COMPONENT)?)?,
    })
}

fn time(time: Option<&Time>) -> Timestamp {
    Timestamp::from_millis(time.map_or(0, |time| time.0.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(component: &str) -> serde_json::Value {
        json!({
            "name": "a", "uid": "u", "resourceVersion": "12", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "app.kubernetes.io/component": component,
                "teraslice.terascope.io/exId": "01010101-0101-4101-8101-010101010101",
                "teraslice.terascope.io/jobId": "02020202-0202-4202-8202-020202020202",
                "teraslice.terascope.io/generation": "3",
            },
        })
    }

    #[test]
    fn reads_a_job() {
        let status = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        let spec = json!({"parallelism": 4, "suspend": true, "template": {}});
        let job = json!({"metadata": meta("worker"), "spec": spec, "status": status});
        let seen = SeenJob::new(&serde_json::from_value(job).unwrap()).unwrap();
        assert_eq!((seen.parallelism, seen.is_suspended, seen.is_finished), (4, true, true));
        assert_eq!((seen.purpose.role, seen.purpose.generation), (Role::Worker, Generation(3)));
        assert_eq!((seen.identity.version, seen.since.as_millis()), (12, 1_767_225_600_000));
    }

    #[test]
    fn passes_over_what_is_none_of_ours() {
        let job = json!({"metadata": {"name": "other"}, "spec": {"template": {}}});
        assert_eq!(SeenJob::new(&serde_json::from_value(job).unwrap()), None);
    }

    #[test]
    fn reads_the_ordinal_of_a_worker_and_knows_a_pod_without_an_execution() {
        let mut worker = meta("worker");
        worker["annotations"] = json!({INDEX: "7"});
        let pod = SeenPod::new(&serde_json::from_value(json!({"metadata": worker})).unwrap()).unwrap();
        assert_eq!((pod.ordinal, pod.instance().unwrap().ordinal), (7, 7));
        let master = json!({"metadata": {"labels": {"app.kubernetes.io/component": "master"}}});
        let master = SeenPod::new(&serde_json::from_value(master).unwrap()).unwrap();
        assert_eq!(master.instance(), None);
    }
}
