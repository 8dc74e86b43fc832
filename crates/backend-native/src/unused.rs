//! Properties of jobs that have no effect on our own machines.

use serde_json::Value;
use teraslice_model::{job::CheckedJob, problem::Problem};

use crate::{limits::Means, nodes::message::Hello};

/// Nodes that a warning names.
const LISTED_MAX: usize = 3;

/// What only other backends use.
const ELSEWHERE: &[&str] = &[
    "resources_requests_cpu",
    "resources_requests_memory",
    "targets",
    "volumes",
    "ephemeral_storage",
    "external_ports",
    "kubernetes_image",
    "pod_spec_override",
];
/// Limits of memory.
const MEMORY: &[&str] = &["memory", "resources_limits_memory", "memory_execution_controller"];
/// Limits of processor time.
const CPU: &[&str] = &["cpu", "resources_limits_cpu", "cpu_execution_controller"];

/// Returns a warning for each property that the job sets and that has no effect on this machine.
pub(crate) fn warnings(job: &CheckedJob, has_tasks: bool) -> Vec<Problem> {
    let unused = [CPU, MEMORY, ELSEWHERE].concat();
    let unused = unused.into_iter().filter(|name| is_set(job, name)).map(without_effect);
    let environment = (has_tasks && !job.env_vars.is_empty()).then(|| {
        let message = "env_vars has no effect on what runs inside this process";
        Problem::new("/env_vars", message).with_hint("run workers as processes of their own")
    });
    unused.chain(environment).collect()
}

/// Returns a warning for each property that the job sets and that has no effect on nodes, or not on all that are connected.
pub(crate) fn warnings_on_nodes<'a>(
    job: &CheckedJob,
    nodes: impl Iterator<Item = &'a Hello> + Clone,
) -> Vec<Problem> {
    let unused = ELSEWHERE.iter().filter(|name| is_set(job, name)).map(|name| without_effect(name));
    let limits = |names: &'static [&'static str], means: fn(&Hello) -> Means| {
        let without: Vec<_> = nodes.clone().filter(|node| means(node) == Means::None).collect();
        let set = names.iter().filter(|name| is_set(job, name) && !without.is_empty());
        let warn = |name: &&str| {
            let listed: Vec<_> = without.iter().map(|node| node.node_id.as_str()).take(LISTED_MAX).collect();
            let message = format!("{name} is not enforced on {} nodes: {}", without.len(), listed.join(", "));
            Problem::new(format!("/{name}"), message).with_hint("give those nodes control groups")
        };
        set.map(warn).collect::<Vec<_>>()
    };
    let cpu = limits(CPU, |node| node.limits.cpu);
    let memory = limits(MEMORY, |node| node.limits.memory);
    unused.chain(cpu).chain(memory).collect()
}

fn is_set(job: &CheckedJob, name: &str) -> bool {
    job.document.get(name).is_some_and(|value| !is_empty(value))
}

fn without_effect(name: &str) -> Problem {
    Problem::new(format!("/{name}"), format!("{name} has no effect with the native cluster backend"))
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
    use crate::limits::Enforced;

    fn checked(job: &Value) -> CheckedJob {
        let mut document = job.as_object().unwrap().clone();
        document.insert("operations".to_owned(), json!([{"_op": "test-reader"}, {"_op": "noop"}]));
        let environment = CheckEnvironment {
            known_connections: None,
            cpus: 2,
            is_kubernetes: false,
            overrides_enabled: false,
        };
        RawJob(document).check(&environment).unwrap().0
    }

    fn warned(job: Value, has_tasks: bool) -> Vec<String> {
        warnings(&checked(&job), has_tasks).into_iter().map(|problem| problem.pointer).collect()
    }

    fn node(memory: Means, cpu: Means) -> Hello {
        Hello {
            node_id: "one".to_owned(),
            hostname: "one".to_owned(),
            host: "one".to_owned(),
            pid: 1,
            version: "1".to_owned(),
            slots: 1,
            limits: Enforced { memory, cpu },
            processes: Vec::new(),
        }
    }

    #[test]
    fn names_the_nodes_that_do_not_enforce_a_limit() {
        let job =
            checked(&json!({"memory": 1_000_000_000, "cpu": 1, "targets": [{"key": "a", "value": "b"}]}));
        let (able, unable) = (node(Means::CgroupV2, Means::CgroupV2), node(Means::DataSize, Means::None));
        assert_eq!(warnings_on_nodes(&job, [&able].into_iter()).len(), 1, "targets only");
        let warnings = warnings_on_nodes(&job, [&able, &unable].into_iter());
        let texts: Vec<_> = warnings.into_iter().map(|problem| problem.message).collect();
        assert_eq!(texts[1..], ["cpu is not enforced on 1 nodes: one"]);
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
