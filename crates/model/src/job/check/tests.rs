use super::*;
use crate::{dead_letter::DeadLetterAction, job::Encoding};

fn raw(job: Value) -> RawJob {
    let Value::Object(properties) = job else { panic!("a job is an object") };
    RawJob(properties)
}

/// A job with the properties of `more` besides two operations.
fn with(more: Value) -> RawJob {
    let mut job = raw(json!({"operations": [{"_op": "reader"}, {"_op": "noop"}]}));
    job.0.extend(raw(more).0);
    job
}

fn native() -> CheckEnvironment {
    CheckEnvironment { cpus: 8, ..CheckEnvironment::default() }
}

fn kubernetes() -> CheckEnvironment {
    CheckEnvironment { is_kubernetes: true, ..native() }
}

fn accepted(job: &RawJob) -> CheckedJob {
    job.check(&native()).unwrap().0
}

fn problems(job: &RawJob, environment: &CheckEnvironment) -> Vec<String> {
    let refused = job.check(environment).err().unwrap_or_default();
    refused.iter().map(ToString::to_string).collect()
}

fn warnings(job: &RawJob) -> Vec<String> {
    job.check(&native()).unwrap().1.iter().map(ToString::to_string).collect()
}

#[test]
fn fills_in_every_default() {
    let job = accepted(&with(json!({})));
    let wanted = json!({
        "operations": [{"_op": "reader", "_encoding": "json"}, {"_op": "noop", "_encoding": "json"}],
        "name": "Custom Job", "lifecycle": "once", "apis": [], "assets": null, "workers": 5, "slicers": 1,
        "max_retries": 3, "analytics": true, "probation_window": 300_000, "autorecover": false, "active": true,
        "stateful": false, "labels": null, "env_vars": {}, "log_level": null,
    });
    assert_eq!(Value::Object(job.document), wanted);
    assert_eq!((job.workers, job.slicers, job.max_retries), (5, 1, 3));
    assert_eq!(job.probation_window, Duration::from_secs(300));
}

#[test]
fn adds_the_defaults_of_kubernetes_there() {
    let document = with(json!({})).check(&kubernetes()).unwrap().0.document;
    assert_eq!(document["targets"], json!([]));
    assert_eq!(document["pod_spec_override"], json!({}));
    assert!(!document.contains_key("cpu_execution_controller"));
}

#[test]
fn takes_fewer_workers_than_five_on_a_small_machine() {
    for (cpus, workers) in [(0, 1), (1, 1), (4, 4), (64, 5)] {
        let environment = CheckEnvironment { cpus, ..native() };
        assert_eq!(with(json!({})).check(&environment).unwrap().0.workers, workers);
    }
}

#[test]
fn coerces_what_the_original_coerces() {
    let job = accepted(&with(json!({
        "workers": "3", "slicers": "2", "max_retries": "0", "analytics": "false", "autorecover": 1,
        "probation_window": "2 minutes", "stateful": "1", "log_level": "", "env_vars": {"N": 4},
    })));
    assert_eq!((job.workers, job.slicers, job.max_retries), (3, 2, 0));
    assert_eq!((job.analytics, job.autorecover, job.stateful), (false, true, true));
    assert_eq!(job.probation_window, Duration::from_secs(120));
    assert_eq!((job.log_level, job.env_vars["N"].as_str()), (None, "4"));
    assert_eq!(job.document["probation_window"], 120_000);
    assert_eq!(job.document["workers"], 3);
}

#[test]
fn refuses_each_wrong_value_with_its_place() {
    let cases = [
        (json!({"name": ""}), "/name: name must be text that is not empty, found \"\""),
        (json!({"name": null}), "/name: name must be text that is not empty, found null"),
        (
            json!({"lifecycle": "onec"}),
            "/lifecycle: lifecycle must be one of once, persistent, found \"onec\" (did you mean \"once\"?)",
        ),
        (json!({"workers": 0}), "/workers: workers must be a whole number of at least 1, found 0"),
        (json!({"workers": "two"}), "/workers: workers must be a whole number of at least 1, found \"two\""),
        (json!({"slicers": 1.5}), "/slicers: slicers must be a whole number of at least 1, found 1.5"),
        (
            json!({"max_retries": -1}),
            "/max_retries: max_retries must be a whole number of at least 0, found -1",
        ),
        (json!({"analytics": "yes"}), "/analytics: analytics must be true or false, found \"yes\""),
        (
            json!({"probation_window": "soon"}),
            "/probation_window: probation_window must be milliseconds or a duration such as \"5 minutes\", found \"soon\"",
        ),
        (json!({"autorecover": null}), "/autorecover: autorecover must be true or false, found null"),
        (json!({"active": 2}), "/active: active must be true or false, found 2"),
        (json!({"stateful": []}), "/stateful: stateful must be true or false, found a list"),
        (json!({"assets": "a"}), "/assets: assets must be a list of names, found \"a\""),
        (
            json!({"assets": [1]}),
            "/assets: assets must be a list of names; one must be text that is not empty, found 1",
        ),
        (
            json!({"labels": {"a": ""}}),
            "/labels: labels must have no empty keys or values, found \"a\": \"\"",
        ),
        (json!({"labels": {"a": []}}), "/labels: labels has an entry \"a\" that must be text, found a list"),
        (json!({"env_vars": null}), "/env_vars: env_vars must be an object of text, found null"),
        (
            json!({"env_vars": {"": "x"}}),
            "/env_vars: env_vars must have no empty keys or values, found \"\": \"x\"",
        ),
        (
            json!({"log_level": "verbose"}),
            "/log_level: log_level must be one of trace, debug, info, warn, error, fatal, found \"verbose\"",
        ),
        (json!({"apis": {}}), "/apis: apis must be a list of objects, found an object"),
    ];
    for (property, message) in cases {
        assert_eq!(problems(&with(property.clone()), &native()), [message], "{property}");
    }
}

#[test]
fn refuses_each_wrong_property_of_the_cluster() {
    let cases = [
        (
            json!({"targets": [{"key": "zone"}]}),
            "/targets: targets has an entry at place 0 that has no \"value\"",
        ),
        (
            json!({"targets": [{"key": "a", "value": "b", "constraint": "never"}]}),
            "/targets: targets has an entry at place 0 that has the constraint \"never\" (known: required, preferred, accepted)",
        ),
        (
            json!({"volumes": [{"name": "v"}]}),
            "/volumes: volumes has an entry at place 0 that has no \"path\"",
        ),
        (
            json!({"cpu_execution_controller": "x"}),
            "/cpu_execution_controller: cpu_execution_controller must be a number above 0, found \"x\"",
        ),
        (
            json!({"resources_limits_memory": 0.5}),
            "/resources_limits_memory: resources_limits_memory must be a whole number of bytes above 0, found 0.5",
        ),
        (
            json!({"external_ports": [45680]}),
            "/external_ports: external_ports has an entry at place 0 that is 45680, the port of the execution controller",
        ),
        (
            json!({"external_ports": [70000]}),
            "/external_ports: external_ports has an entry at place 0 that must be a port from 1 to 65535, found 70000",
        ),
        (
            json!({"external_ports": [{"port": 80}]}),
            "/external_ports: external_ports has an entry at place 0 that has no \"name\"",
        ),
        (
            json!({"ephemeral_storage": "maybe"}),
            "/ephemeral_storage: ephemeral_storage must be true or false, found \"maybe\"",
        ),
        (
            json!({"kubernetes_image": ""}),
            "/kubernetes_image: kubernetes_image must be text that is not empty, found \"\"",
        ),
        (
            json!({"pod_spec_override": []}),
            "/pod_spec_override: pod_spec_override must be an object, found a list",
        ),
        (
            json!({"prom_metrics_port": 0}),
            "/prom_metrics_port: prom_metrics_port must be a port from 1 to 65535, found 0",
        ),
        (
            json!({"prom_metrics_enabled": "on"}),
            "/prom_metrics_enabled: prom_metrics_enabled must be true or false, found \"on\"",
        ),
        (
            json!({"prom_metrics_add_default": 3}),
            "/prom_metrics_add_default: prom_metrics_add_default must be true or false, found 3",
        ),
    ];
    for (property, message) in cases {
        assert_eq!(problems(&with(property.clone()), &kubernetes()), [message], "{property}");
        assert_eq!(problems(&with(property), &native()), [message]);
    }
}

#[test]
fn refuses_resources_that_contradict_each_other() {
    let cases = [
        (
            json!({"cpu": 1, "resources_limits_cpu": 1}),
            "/cpu: cpu must not be combined with resources_limits_cpu",
        ),
        (
            json!({"memory": 9, "resources_requests_memory": 9}),
            "/memory: memory must not be combined with resources_requests_memory",
        ),
        (
            json!({"resources_requests_cpu": 2, "resources_limits_cpu": 1}),
            "/resources_requests_cpu: resources_requests_cpu must not be more than resources_limits_cpu",
        ),
    ];
    for (property, message) in cases {
        assert_eq!(problems(&with(property.clone()), &kubernetes()), [message], "{property}");
        assert_eq!(problems(&with(property), &native()), [message]);
    }
}

#[test]
fn lets_pods_be_overridden_only_where_the_cluster_allows_it() {
    let job = with(json!({"pod_spec_override": {"a": 1}}));
    let allowed = CheckEnvironment { overrides_enabled: true, ..kubernetes() };
    assert_eq!(problems(&job, &kubernetes()).len(), 1);
    assert!(job.check(&allowed).is_ok());
    assert!(job.check(&native()).is_ok());
}

#[test]
fn reads_what_a_job_asks_of_the_cluster() {
    let job = accepted(&with(json!({
        "cpu": 0.5, "resources_requests_memory": "1000", "targets": [{"key": "zone", "value": "west"}],
        "volumes": [{"name": "v", "path": "/v"}], "external_ports": [9090, {"name": "m", "port": 3333}],
    })));
    assert_eq!((job.resources.cpu_request, job.resources.cpu_limit), (Some(0.5), Some(0.5)));
    assert_eq!((job.resources.memory_request, job.resources.memory_limit), (Some(1_000), None));
    assert_eq!(job.resources.targets[0].value, "west");
    assert_eq!(job.resources.external_ports[1].name.as_deref(), Some("m"));
    assert!(job.extra.is_empty());
}

#[test]
fn reads_the_unset_resources_of_2018_as_unset() {
    let job = accepted(&with(json!({"cpu": -1, "memory": -1})));
    assert_eq!((job.resources.cpu_limit, job.resources.memory_limit), (None, None));
}

#[test]
fn wants_two_operations_that_are_objects_with_names() {
    let cases = [
        (json!({}), vec!["/operations: operations must be a reader and at least one more, found 0"]),
        (
            json!({"operations": [{"_op": "a"}]}),
            vec!["/operations: operations must be a reader and at least one more, found 1"],
        ),
        (json!({"operations": "x"}), vec!["/operations: operations must be a list of objects, found \"x\""]),
        (
            json!({"operations": [{"_op": "a"}, "b"]}),
            vec!["/operations: operations must be a list of objects, found \"b\", at place 1"],
        ),
        (
            json!({"operations": [{"_op": ""}, {"size": 1}]}),
            vec![
                "/operations/0/_op: _op must be text that is not empty, found \"\"",
                "/operations/1/_op: _op is required",
            ],
        ),
        (
            json!({"operations": [{"_op": ".a"}, {"_op": "b@"}]}),
            vec![
                "/operations/0/_op: _op must be a name or name@asset, and not begin with . or _, found \".a\"",
                "/operations/1/_op: _op must be a name or name@asset, and not begin with . or _, found \"b@\"",
            ],
        ),
    ];
    for (job, messages) in cases {
        assert_eq!(problems(&raw(job.clone()), &native()), messages, "{job}");
    }
}

#[test]
fn reports_all_problems_at_once() {
    let job =
        raw(json!({"name": 1, "workers": 0, "operations": [{"_op": "a", "_encoding": "xml"}, {"_op": 2}]}));
    let found = job.check(&native()).unwrap_err();
    let pointers: Vec<_> = found.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(pointers, ["/name", "/operations/0/_encoding", "/operations/1/_op", "/workers"]);
}

#[test]
fn splits_operations_from_their_assets() {
    let job = raw(json!({"operations": [{"_op": "a@mine:1.2"}, {"_op": "b"}]}));
    let operations = accepted(&job).operations;
    assert_eq!((operations[0].op.as_str(), operations[0].asset.as_deref()), ("a", Some("mine:1.2")));
    assert_eq!((operations[1].op.as_str(), operations[1].asset.as_deref()), ("b", None));
}

#[test]
fn lays_the_settings_of_an_operation_over_those_of_its_api() {
    let job = accepted(&raw(json!({
        "apis": [{"_name": "sender:one", "_encoding": "raw", "_connection": "c", "_dead_letter_action": "none",
                  "path": "/a", "size": 1}],
        "operations": [{"_op": "reader"}, {"_op": "writer", "_api_name": "sender:one", "size": 2}],
    })));
    let writer = &job.operations[1];
    assert_eq!(Value::Object(writer.settings.clone()), json!({"path": "/a", "size": 2}));
    assert_eq!((writer.encoding, writer.connection.as_deref()), (Encoding::Raw, Some("c")));
    assert_eq!(writer.dead_letter_action, Some(DeadLetterAction::None));
    assert_eq!(job.apis[0].kind(), "sender");
    assert_eq!(job.operations[0].dead_letter_action, None);
}

#[test]
fn wants_apis_that_exist_and_have_names_of_their_own() {
    let apis = json!([{"_name": "a"}, {"_name": "a"}, {}]);
    let job = raw(json!({"apis": apis, "operations": [{"_op": "r", "_api_name": "b"}, {"_op": "w"}]}));
    assert_eq!(
        problems(&job, &native()),
        [
            "/apis/1/_name: _name \"a\" is taken by /apis/0 already",
            "/apis/2/_name: _name is required",
            "/operations/0/_api_name: unknown api \"b\" (did you mean \"a\"? known: a)",
        ]
    );
    let job = raw(json!({"operations": [{"_op": "r", "_api_name": "b"}, {"_op": "w"}]}));
    assert_eq!(
        problems(&job, &native()),
        ["/operations/0/_api_name: unknown api \"b\" (the job has no apis: add it there)"]
    );
}

#[test]
fn wants_connections_that_are_configured() {
    let environment = CheckEnvironment { known_connections: Some(vec!["default".to_owned()]), ..native() };
    let job = raw(json!({
        "apis": [{"_name": "x", "connection": "defualt"}],
        "operations": [{"_op": "r", "_connection": "default"}, {"_op": "w", "_connection": "other"}],
    }));
    assert_eq!(
        problems(&job, &environment),
        [
            "/apis/0/connection: unknown connection \"defualt\" (did you mean \"default\"? known: default)",
            "/operations/1/_connection: unknown connection \"other\" (known: default)",
        ]
    );
    assert!(job.check(&native()).is_ok());
}

#[test]
fn keeps_unknown_properties_and_names_the_nearest() {
    let job = with(json!({"worker": 3, "env_variables": {}, "mystery": 1, "__metadata": {}}));
    assert_eq!(accepted(&job).extra.keys().collect::<Vec<_>>(), ["worker", "env_variables", "mystery"]);
    assert_eq!(
        warnings(&job),
        [
            "/worker: unknown property \"worker\" is kept but has no effect (did you mean \"workers\"?)",
            "/env_variables: unknown property \"env_variables\" is kept but has no effect (did you mean \"env_vars\"?)",
            "/mystery: unknown property \"mystery\" is kept but has no effect",
        ]
    );
}

#[test]
fn warns_about_misspelt_common_settings() {
    let job = raw(json!({"operations": [{"_op": "r", "_conection": "x"}, {"_op": "w"}]}));
    assert_eq!(
        warnings(&job),
        ["/operations/0/_conection: unknown common setting \"_conection\" (did you mean \"_connection\"?)"]
    );
}

#[test]
fn warns_about_deprecated_properties_in_the_shape_that_clients_know() {
    let job = raw(json!({
        "cpu": 1, "performance_metrics": true, "apis": [{"_name": "x", "connection": "c"}],
        "operations": [{"_op": "r"}, {"_op": "w", "_api_name": "x"}],
    }));
    let (job, warnings) = job.check(&native()).unwrap();
    assert_eq!(job.operations[1].connection.as_deref(), Some("c"));
    let shape = |kind: &str, reason: Value| json!({"type": "JobValidation", "reason": {"type": kind, "kind": "deprecation", "reason": reason}});
    assert_eq!(
        serde_json::to_value(warnings).unwrap(),
        json!([
            shape(
                "assetAPIProperty",
                json!({"api_name": "x", "field": "connection", "description": "use _connection"})
            ),
            shape(
                "jobProperty",
                json!({"field": "cpu", "description": "use resources_requests_cpu and resources_limits_cpu"})
            ),
            shape(
                "jobProperty",
                json!({"field": "performance_metrics", "description": "it has no effect and was removed"})
            ),
        ])
    );
}

#[test]
fn leaves_a_checked_document_as_it_is() {
    let job = raw(json!({
        "workers": "3", "cpu": "1", "apis": [{"_name": "x", "connection": "c", "_encoding": "raw"}], "z": 1,
        "operations": [{"_op": "r@a:1", "n": 1}, {"_op": "w", "_api_name": "x", "_dead_letter_action": "log"}],
        "labels": {"a": 1}, "probation_window": "1 minute", "external_ports": [1, {"name": "a", "port": "2"}],
    }));
    for environment in [native(), kubernetes()] {
        let once = job.check(&environment).unwrap().0;
        let twice = RawJob(once.document.clone()).check(&environment).unwrap().0;
        assert_eq!(once, twice);
    }
}
