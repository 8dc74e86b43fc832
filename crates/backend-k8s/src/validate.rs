//! Checks what a job asks of Kubernetes, before anything is made of it.

mod overlay;
mod places;

use std::collections::BTreeMap;

use serde_json::Value;
use teraslice_model::{
    job::{CONTROLLER_PORT, CheckedJob, Constraint, Target},
    problem::{Problem, escape_pointer},
};

use crate::{
    labels, names, ports,
    render::{self, CONTROLLER_PORT_NAME, environment},
    settings::KubernetesSettings,
};

/// Kubernetes refuses more workers of one Job.
const WORKERS_MAX: u32 = 100_000;
/// No machine has more cores.
const CPU_MAX: f64 = 1_024.0;
/// No process starts with less memory.
const MEMORY_MIN: u64 = 16 * 1_024 * 1_024;
/// Linux starts no process with much more in one variable, and none with much more in all.
const ENVIRONMENT_SIZE_MAX: usize = 96 * 1_024;

/// What was found in a job.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// Checks the properties of a job that concern Kubernetes; no side effects. Returns warnings.
///
/// # Errors
///
/// Every problem, each with its place in the job.
pub fn validate(job: &CheckedJob, settings: &KubernetesSettings) -> Result<Vec<Problem>, Vec<Problem>> {
    let mut findings = Findings::default();
    workers(job, &mut findings);
    resources(job, &mut findings);
    targets(job, settings, &mut findings);
    places::check(job, settings, &mut findings);
    external_ports(job, &mut findings);
    job_labels(job, &mut findings);
    env_vars(job, settings, &mut findings);
    queue(job, &mut findings);
    if settings.has_overrides {
        overlay::check(job, &mut findings);
    }
    if findings.problems.is_empty() { Ok(findings.warnings) } else { Err(findings.problems) }
}

impl Findings {
    fn problem(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(pointer, message));
    }

    fn warning(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem::new(pointer, message));
    }
}

fn workers(job: &CheckedJob, findings: &mut Findings) {
    if job.workers > WORKERS_MAX {
        findings.problem("/workers", format!("workers must be at most {WORKERS_MAX}, found {}", job.workers));
    }
}

fn resources(job: &CheckedJob, findings: &mut Findings) {
    let asked = &job.resources;
    for (cores, properties) in [
        (asked.cpu_request, ["resources_requests_cpu", "cpu"].as_slice()),
        (asked.cpu_limit, &["resources_limits_cpu", "cpu"]),
        (asked.cpu_controller, &["cpu_execution_controller"]),
    ] {
        if let Some(cores) = cores
            && cores > CPU_MAX
        {
            let property = written(job, properties);
            let message = format!("{property} must be at most {CPU_MAX} cores, found {cores}");
            once(&mut findings.problems, property, message);
        }
    }
    for (bytes, properties) in [
        (asked.memory_request, ["resources_requests_memory", "memory"].as_slice()),
        (asked.memory_limit, &["resources_limits_memory", "memory"]),
        (asked.memory_controller, &["memory_execution_controller"]),
    ] {
        if let Some(bytes) = bytes
            && bytes < MEMORY_MIN
        {
            let property = written(job, properties);
            let message = format!("{property} must be at least {MEMORY_MIN} bytes (16 MiB), found {bytes}");
            once(&mut findings.problems, property, message);
        }
    }
}

/// Returns the first of these properties that the job has.
fn written<'a>(job: &CheckedJob, properties: &[&'a str]) -> &'a str {
    let found = properties.iter().find(|property| job.document.contains_key(**property));
    found.or(properties.first()).copied().unwrap_or_default()
}

/// Adds a problem of a property unless it is there: one property may be both request and limit.
fn once(problems: &mut Vec<Problem>, property: &str, message: String) {
    let problem = Problem::new(format!("/{property}"), message);
    if !problems.contains(&problem) {
        problems.push(problem);
    }
}

fn targets(job: &CheckedJob, settings: &KubernetesSettings, findings: &mut Findings) {
    let all = &job.resources.targets;
    for (index, Target { key, value, .. }) in all.iter().enumerate() {
        if !names::is_label_key(key) {
            findings
                .problem(format!("/targets/{index}/key"), format!("{key:?} cannot be the key of a label"));
        }
        if !names::is_label_value(value) {
            let message = format!("{value:?} cannot be the value of a label");
            findings.problem(format!("/targets/{index}/value"), message);
        }
    }
    let required = all.iter().filter(|target| target.constraint == Constraint::Required);
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for Target { key, value, .. } in required.clone() {
        let first = values.entry(key).or_insert(value);
        if *first != value {
            findings.problem(
                "/targets",
                format!("no machine meets both required targets: {key} is {first:?} and {value:?}"),
            );
        }
    }
    for Target { key, value, .. } in &settings.controller_targets {
        if let Some(wanted) = values.get(key.as_str())
            && wanted != value
        {
            findings.problem(
                "/targets",
                format!(
                    "no machine meets the required target {key} {wanted:?} and that of the cluster for \
                     controllers, {value:?}"
                ),
            );
        }
    }
}

fn external_ports(job: &CheckedJob, findings: &mut Findings) {
    let all = &job.resources.external_ports;
    for (index, port) in all.iter().enumerate() {
        let pointer = format!("/external_ports/{index}");
        let earlier = all.iter().take(index);
        let number = port.port;
        if number == CONTROLLER_PORT {
            let message = format!("{CONTROLLER_PORT} is the port of the execution controller");
            findings.problem(pointer.clone(), message);
        }
        if earlier.clone().any(|other| other.port == number) {
            findings.problem(pointer.clone(), format!("the port {number} is there already"));
        }
        let Some(name) = &port.name else { continue };
        let pointer = format!("{pointer}/name");
        if !names::is_port_name(name) {
            let wanted = "up to 15 lower-case letters, digits and single dashes, with a letter at least";
            let message = format!("{name:?} cannot be the name of a port");
            findings.problems.push(Problem::new(pointer, message).with_hint(wanted));
        } else if name == CONTROLLER_PORT_NAME {
            findings
                .problem(pointer, format!("{name:?} is the name of the port of the execution controller"));
        } else if earlier.clone().any(|other| other.name.as_ref() == Some(name)) {
            findings.problem(pointer, format!("the name {name:?} is there already"));
        }
    }
    if ports::metrics(job) == Some(CONTROLLER_PORT) {
        let message = format!("{CONTROLLER_PORT} is the port of the execution controller");
        findings.problem("/prom_metrics_port", message);
    }
}

fn job_labels(job: &CheckedJob, findings: &mut Findings) {
    let mut keys = BTreeMap::new();
    for (key, value) in &job.labels {
        let pointer = format!("/labels/{}", escape_pointer(key));
        let Some(label) = names::label_key(key) else {
            findings
                .warning(pointer, format!("the label {key:?} is left out: its key has no letter or digit"));
            continue;
        };
        if format!("{}{label}", labels::JOB_PREFIX) == labels::RELOCATABLE {
            findings.warning(pointer.clone(), "the controller's label of this key says something else");
        }
        if label != *key {
            findings.warning(pointer.clone(), format!("the key of the label is written as {label:?}"));
        }
        let written = names::label_value(value);
        if written != *value {
            findings.warning(
                pointer.clone(),
                format!("the value of the label {key:?} is written as {written:?}"),
            );
        }
        if let Some(other) = keys.insert(label, key) {
            findings.warning(pointer, format!("the label {key:?} takes the place of {other:?}"));
        }
    }
}

fn env_vars(job: &CheckedJob, settings: &KubernetesSettings, findings: &mut Findings) {
    for name in job.env_vars.keys() {
        let pointer = format!("/env_vars/{}", escape_pointer(name));
        if environment::RESERVED.contains(&name.as_str()) {
            findings.problem(pointer, format!("{name} is reserved"));
        } else if !name.chars().all(|found| matches!(found, ' '..='~') && found != '=') {
            let message = format!("{name:?} cannot be the name of a variable: ASCII without \"=\" can");
            findings.problem(pointer, message);
        }
    }
    let given = environment::given(job, settings);
    // Each is kept as `name=value` and a zero.
    let size: usize = given.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if size > ENVIRONMENT_SIZE_MAX {
        let message = format!(
            "the variables of the job and the cluster must have at most {ENVIRONMENT_SIZE_MAX} bytes, found {size}"
        );
        findings.problem("/env_vars", message);
    }
}

fn queue(job: &CheckedJob, findings: &mut Findings) {
    let property = render::QUEUE_PROPERTY;
    let is_name = |name: &str| names::is_dns_name(name) && names::is_label_value(name);
    match render::queue(job) {
        None => {}
        Some(Value::String(name)) if is_name(name) => {}
        Some(other) => {
            let message = format!("{property} must be the name of a queue, found {other}");
            findings.problem(format!("/{property}"), message);
        }
    }
}

#[cfg(test)]
mod tests;
