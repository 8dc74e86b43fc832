//! Properties of jobs that have no effect on one machine.

use serde_json::Value;
use teraslice_model::{job::CheckedJob, problem::Problem};

/// What only other backends use.
const UNUSED: &[&str] = &[
    "cpu",
    "memory",
    "resources_requests_cpu",
    "resources_limits_cpu",
    "resources_requests_memory",
    "resources_limits_memory",
    "cpu_execution_controller",
    "memory_execution_controller",
    "targets",
    "volumes",
    "ephemeral_storage",
    "external_ports",
    "kubernetes_image",
    "pod_spec_override",
];

/// Returns a warning for each property that the job sets and that has no effect here.
pub(crate) fn warnings(job: &CheckedJob, has_tasks: bool) -> Vec<Problem> {
    let is_set = |name: &&&str| job.document.get(**name).is_some_and(|value| !is_empty(value));
    let unused = UNUSED.iter().filter(is_set).map(|name| {
        Problem::new(format!("/{name}"), format!("{name} has no effect with the native cluster backend"))
    });
    let environment = (has_tasks && !job.env_vars.is_empty()).then(|| {
        let message = "env_vars has no effect on what runs inside this process";
        Problem::new("/env_vars", message).with_hint("run workers as processes of their own")
    });
    unused.chain(environment).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Number(number) => number.as_i64() == Some(-1),
        Value::Bool(true) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_model::job::{CheckEnvironment, RawJob};

    use super::*;

    fn warned(job: Value, has_tasks: bool) -> Vec<String> {
        let mut document = job.as_object().unwrap().clone();
        document.insert("operations".to_owned(), json!([{"_op": "test-reader"}, {"_op": "noop"}]));
        let environment = CheckEnvironment {
            known_connections: None,
            cpus: 2,
            is_kubernetes: false,
            overrides_enabled: false,
        };
        let (job, _) = RawJob(document).check(&environment).unwrap();
        warnings(&job, has_tasks).into_iter().map(|problem| problem.pointer).collect()
    }

    #[test]
    fn names_what_has_no_effect() {
        let job =
            json!({"resources_limits_memory": 1_000_000_000, "targets": [{"key": "zone", "value": "a"}]});
        assert_eq!(warned(job, false), ["/resources_limits_memory", "/targets"]);
    }

    #[test]
    fn is_silent_about_a_plain_job() {
        assert_eq!(warned(json!({"workers": 3, "targets": []}), true), [""; 0]);
    }

    #[test]
    fn says_that_tasks_have_no_environment_of_their_own() {
        assert_eq!(warned(json!({"env_vars": {"A": "1"}}), true), ["/env_vars"]);
        assert_eq!(warned(json!({"env_vars": {"A": "1"}}), false), [""; 0]);
    }
}
