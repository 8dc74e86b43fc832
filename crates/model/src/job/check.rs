//! The check that makes a [`CheckedJob`] of a [`RawJob`]: every property, all problems at once.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    CheckedJob, Lifecycle, RawJob, Sandbox, Warning, cluster,
    fields::{self, Fields, Report},
    pipeline,
    warning::{Deprecation, Subject},
};
use crate::problem::Problem;

/// The default of `workers` is the number of processors, but at most this.
const WORKERS_DEFAULT_MAX: u32 = 5;

/// What a check has to know of its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckEnvironment {
    /// The names of all connections, whatever their type; absent: `_connection` may be anything.
    pub known_connections: Option<Vec<String>>,
    /// Processors of this machine; the default of `workers` derives from it.
    pub cpus: u32,
    /// Whether the cluster is Kubernetes: its properties' defaults are filled in then.
    pub is_kubernetes: bool,
    /// Whether `pod_spec_override` may be used.
    pub overrides_enabled: bool,
}

impl CheckEnvironment {
    /// Returns the workers of a job that does not say.
    #[must_use]
    pub fn workers_default(&self) -> u32 {
        self.cpus.clamp(1, WORKERS_DEFAULT_MAX)
    }
}

/// Properties of earlier versions that have no effect any more, and what to say about each.
const REMOVED: &[(&str, &str)] = &[
    ("performance_metrics", "it has no effect and was removed"),
    ("recycle_worker", "it has no effect and was removed"),
    ("moderator", "it has no effect and was removed"),
];

/// Properties that are often written under another name.
const OTHER_NAMES: &[(&str, &str)] =
    &[("env_variables", "env_vars"), ("env", "env_vars"), ("retries", "max_retries"), ("ops", "operations")];

/// A job as far as it could be understood, and everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The job, with defaults in the place of what is wrong: only for finding more problems, not for running.
    pub job: CheckedJob,
    /// Faults, each with its place in the job.
    pub problems: Vec<Problem>,
    /// What to look at.
    pub warnings: Vec<Warning>,
}

impl RawJob {
    /// Checks every property of the job.
    ///
    /// The document of the result is a fixed point: checked again, it is the same job.
    ///
    /// # Errors
    ///
    /// Every problem, each with its place in the job.
    pub fn check(&self, environment: &CheckEnvironment) -> Result<(CheckedJob, Vec<Warning>), Vec<Problem>> {
        let Inspection { job, problems, warnings } = self.inspect(environment);
        if problems.is_empty() { Ok((job, warnings)) } else { Err(problems) }
    }

    /// Checks every property of the job and goes on whatever it finds.
    #[must_use]
    pub fn inspect(&self, environment: &CheckEnvironment) -> Inspection {
        let mut report = Report::default();
        let job = check(&self.0, environment, &mut report);
        Inspection { job, problems: report.problems, warnings: report.warnings }
    }
}

fn check(source: &Map<String, Value>, environment: &CheckEnvironment, report: &mut Report) -> CheckedJob {
    let mut fields = Fields::new(source, String::new(), report);
    let workers = environment.workers_default();
    let lifecycles = &[("once", Lifecycle::Once), ("persistent", Lifecycle::Persistent)];
    let probation = Duration::from_mins(5);
    let name = fields.take("name", ("Custom Job".to_owned(), json!("Custom Job")), fields::text);
    let lifecycle = fields.take("lifecycle", (Lifecycle::Once, json!("once")), fields::one_of(lifecycles));
    let apis = pipeline::apis(&mut fields, environment);
    let operations = pipeline::operations(&mut fields, &apis, environment);
    let assets = fields.take("assets", (Vec::new(), Value::Null), fields::nullable(assets));
    let workers = fields.take("workers", (workers, workers.into()), fields::whole(1));
    let slicers = fields.take("slicers", (1, json!(1)), fields::whole(1));
    let max_retries = fields.take("max_retries", (3, json!(3)), fields::whole(0));
    let analytics = fields.take("analytics", (true, json!(true)), fields::boolean);
    let probation_window =
        fields.take("probation_window", (probation, json!(probation.as_secs() * 1_000)), fields::duration);
    let autorecover = fields.take("autorecover", (false, json!(false)), fields::boolean);
    let active = fields.take("active", (true, json!(true)), fields::boolean);
    let stateful = fields.take("stateful", (false, json!(false)), fields::boolean);
    let labels = fields.take("labels", (BTreeMap::new(), Value::Null), fields::nullable(fields::text_map));
    let env_vars = fields.take("env_vars", (BTreeMap::new(), json!({})), fields::text_map);
    let log_level = fields.take("log_level", (None, Value::Null), log_level);
    let sandbox = Sandbox {
        memory: fields.optional("wasm_memory", fields::bytes),
        time_per_batch: fields.optional("wasm_time_per_batch", fields::duration),
    };
    let resources = cluster::resources(&mut fields, environment);
    removed(&mut fields);
    let extra = unknown(&mut fields);
    CheckedJob {
        name,
        lifecycle,
        operations,
        apis,
        assets,
        workers,
        slicers,
        max_retries,
        analytics,
        probation_window,
        autorecover,
        active,
        stateful,
        labels,
        env_vars,
        log_level,
        sandbox,
        resources,
        extra,
        document: fields.into_document(),
    }
}

fn assets(value: &Value) -> fields::Coerced<Vec<String>> {
    let Value::Array(items) = value else { return Err(fields::wanted("a list of names", value)) };
    let read = items.iter().map(|item| fields::text(item).map(|(name, _)| name));
    let read =
        read.collect::<Result<Vec<_>, _>>().map_err(|wrong| format!("must be a list of names; one {wrong}"));
    Ok((read?, value.clone()))
}

fn log_level(value: &Value) -> fields::Coerced<Option<String>> {
    const LEVELS: &[(&str, &str)] = &[
        ("trace", "trace"),
        ("debug", "debug"),
        ("info", "info"),
        ("warn", "warn"),
        ("error", "error"),
        ("fatal", "fatal"),
    ];
    if value.is_null() || value.as_str() == Some("") {
        return Ok((None, Value::Null));
    }
    fields::one_of(LEVELS)(value).map(|(level, shown)| (Some(level.to_owned()), shown))
}

/// Warns about properties of earlier versions.
fn removed(fields: &mut Fields<'_>) {
    for (key, description) in REMOVED {
        if fields.optional(key, |value| Ok(((), value.clone()))).is_some() {
            deprecate(fields, key, Subject::Job, description);
        }
    }
}

/// Warns about each property that nobody has read, and returns them.
fn unknown(fields: &mut Fields<'_>) -> Map<String, Value> {
    let extra = fields.unread();
    for key in extra.keys() {
        let pointer = fields.pointer(key);
        let known = fields.known();
        let meant = OTHER_NAMES.iter().find(|(other, _)| other == key).map(|(_, meant)| *meant);
        let meant = meant.or_else(|| crate::problem::nearest(key, known));
        let problem = Problem::new(pointer, format!("unknown property {key:?} is kept but has no effect"));
        let problem = match meant {
            Some(near) => problem.with_hint(format!("did you mean {near:?}?")),
            None => problem,
        };
        fields.report.warnings.push(problem.into());
    }
    extra
}

/// Warns about a property that is going away.
pub(super) fn deprecate(fields: &mut Fields<'_>, field: &str, subject: Subject, description: &str) {
    let pointer = fields.pointer(field);
    let deprecation =
        Deprecation { pointer, subject, field: field.to_owned(), description: description.to_owned() };
    fields.report.warnings.push(Warning::Deprecation(deprecation));
}

#[cfg(test)]
mod tests;
