//! The labels and annotations by which objects are found and told apart.

use std::collections::BTreeMap;

use teraslice_core::backend::{DesiredExecution, Role};
use teraslice_model::job::CheckedJob;

use crate::{names, settings::KubernetesSettings};

/// What made an object: [`TERASLICE`].
pub const NAME: &str = "app.kubernetes.io/name";
/// What it is: a [`Role`], or `master`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The cluster: its name, as far as a label can hold it.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The execution.
pub const EX_ID: &str = "teraslice.terascope.io/exId";
/// The job.
pub const JOB_ID: &str = "teraslice.terascope.io/jobId";
/// The job's name, as far as a label can hold it.
pub const JOB_NAME: &str = "teraslice.terascope.io/jobName";
/// The generation; only objects of this backend have it.
pub const GENERATION: &str = "teraslice.terascope.io/generation";
/// Whether another controller may go on where this one ends.
pub const RELOCATABLE: &str = "job.teraslice.terascope.io/relocatable";
/// Whether workers keep state; on their pods, if they do.
pub const STATEFUL: &str = "job-property.teraslice.terascope.io/stateful";
/// The queue of Kueue that admits the workers.
pub const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// What comes before the labels of a job.
pub const JOB_PREFIX: &str = "job.teraslice.terascope.io/";

/// The annotation with the job's whole name.
pub const JOB_NAME_ANNOTATION: &str = "teraslice.terascope.io/job-name";

/// The value of [`NAME`].
pub const TERASLICE: &str = "teraslice";

/// Returns the label selector of everything that belongs to a cluster: what this backend has made, which has [`GENERATION`] too,
/// and the master.
#[must_use]
pub fn selector(cluster: &str) -> String {
    format!("{NAME}={TERASLICE},{INSTANCE}={}", names::instance_label(cluster))
}

/// Returns the labels of an object and of its pods.
pub(crate) fn of(
    desired: &DesiredExecution,
    settings: &KubernetesSettings,
    role: Role,
) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<_, _> = of_job(&desired.job).collect();
    if role == Role::Controller {
        labels.insert(RELOCATABLE.to_owned(), true.to_string());
    }
    labels.extend([
        (NAME.to_owned(), TERASLICE.to_owned()),
        (COMPONENT.to_owned(), role.node_type().to_owned()),
        (INSTANCE.to_owned(), names::instance_label(&settings.cluster)),
        (EX_ID.to_owned(), desired.ex_id.to_string()),
        (JOB_ID.to_owned(), desired.job_id.to_string()),
        (JOB_NAME.to_owned(), names::job_name_label(&desired.job.name)),
        (GENERATION.to_owned(), desired.generation.to_string()),
    ]);
    labels
}

/// Returns the labels that select the workers of an execution, of any generation.
pub(crate) fn of_workers(desired: &DesiredExecution) -> BTreeMap<String, String> {
    BTreeMap::from([
        (COMPONENT.to_owned(), Role::Worker.node_type().to_owned()),
        (EX_ID.to_owned(), desired.ex_id.to_string()),
    ])
}

/// Returns what the job wants to be labelled with, as far as labels can hold it.
fn of_job(job: &CheckedJob) -> impl Iterator<Item = (String, String)> {
    job.labels.iter().filter_map(|(key, value)| {
        Some((format!("{JOB_PREFIX}{}", names::label_key(key)?), names::label_value(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_what_belongs_to_the_cluster() {
        let selector = selector("my cluster");
        assert_eq!(selector, "app.kubernetes.io/name=teraslice,app.kubernetes.io/instance=my_cluster");
    }
}
