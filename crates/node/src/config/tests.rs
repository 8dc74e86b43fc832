use serde_json::json;
use teraslice_backend_plugin::Transport;

use super::*;

fn of(content: Value) -> Result<Config, ConfigError> {
    let Value::Object(content) = content else { panic!("a configuration is an object") };
    Config::of(PathBuf::from("config.yaml"), &content)
}

fn problems(content: Value) -> Vec<String> {
    match of(content) {
        Err(ConfigError::Wrong { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, found {other:?}"),
    }
}

#[test]
fn starts_with_a_configuration_of_2018() {
    let config = of(json!({
        "terafoundation": {
            "environment": "production", "log_path": "/app/logs",
            "connectors": {"elasticsearch": {"default": {"host": ["es:9200"]}}}
        },
        "teraslice": {
            "name": "teracluster", "master": true, "workers": 8, "assets_volume": "assets",
            "kubernetes_image": "teraslice:k8sdev", "cluster_manager_type": "kubernetes", "shutdown_timeout": "30 seconds"
        }
    }))
    .unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.connections, Some(vec!["default".to_owned()]));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(30));
    assert!(config.check_environment().is_kubernetes);
}

#[test]
fn takes_the_defaults_where_nothing_is_said() {
    let defaults = Config::default();
    let config = of(json!({})).unwrap();
    assert_eq!(Config { path: None, ..config }, defaults);
    let config = of(json!({"teraslice": null, "terafoundation": {"log_level": null}})).unwrap();
    assert_eq!(Config { path: None, ..config }, defaults);
}

#[test]
fn names_the_nearest_of_an_unknown_key() {
    let config = of(json!({"teraslice": {"state_dir": "/x", "asset_directory": "a"}, "other": 1})).unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/other: unknown key \"other\" has no effect",
            "/teraslice/state_dir: unknown key \"state_dir\" has no effect",
            "/teraslice/asset_directory: unknown key \"asset_directory\" has no effect (did you mean \"assets_directory\"?)",
        ]
    );
}

#[test]
fn refuses_wrong_values_all_at_once() {
    let content = json!({
        "terafoundation": {"log_level": "loud", "connectors": {"s3": "x"}, "prom_metrics_enabled": 3},
        "teraslice": {"port": 0, "workers": -1, "slicer_timeout": "soon", "assets_directory": [1], "cpu": "two"}
    });
    assert_eq!(
        problems(content),
        [
            "/terafoundation/log_level: log_level must be trace, debug, info, warn, error or fatal, found \"loud\"",
            "/terafoundation/connectors: connectors must be an object of connector types, each an object of connections, found {\"s3\":\"x\"}",
            "/terafoundation/prom_metrics_enabled: prom_metrics_enabled must be true or false, found 3",
            "/teraslice/port: port must be a port from 1 to 65535, found 0",
            "/teraslice/workers: workers must be a whole number of at least 0, found -1",
            "/teraslice/slicer_timeout: slicer_timeout must be milliseconds or a duration such as \"5 minutes\", found \"soon\"",
            "/teraslice/assets_directory: assets_directory must be text or a list of text, found [1]",
            "/teraslice/cpu: cpu must be a number, found \"two\"",
        ]
    );
    assert_eq!(problems(json!({"teraslice": 1})), ["/teraslice: teraslice must be an object, found 1"]);
}

#[test]
fn reads_the_levels_of_several_outputs() {
    let config =
        of(json!({"terafoundation": {"log_level": [{"file": "debug"}, {"console": "warn"}]}})).unwrap();
    assert_eq!(config.logs.level.as_deref(), Some("warn"));
}

#[test]
fn says_which_file_cannot_be_read() {
    let error = Config::find(Some(Path::new("/nowhere/config.yaml"))).unwrap_err();
    assert_eq!(error.to_string(), "failed to read the configuration /nowhere/config.yaml");
}

#[test]
fn opens_the_api_to_other_machines_only_with_tokens_or_in_words() {
    let found = problems(json!({"teraslice": {"bind": "0.0.0.0"}}));
    assert!(found[0].starts_with("/teraslice/bind: bind lets other machines use the API"), "{found:?}");
    for opened in [
        json!({"teraslice": {"bind": "0.0.0.0", "api_auth": "tokens"}}),
        json!({"teraslice": {"bind": "0.0.0.0", "api_unprotected": UNPROTECTED}}),
        json!({"teraslice": {"bind": "127.0.0.2"}}),
    ] {
        assert!(of(opened).is_ok());
    }
}

#[test]
fn reads_backends_of_third_parties() {
    let config = of(json!({"teraslice": {
        "cluster_manager_type": "mine",
        "cluster_backends": {
            "mine": {"path": "/opt/libmine.so", "sha256": "ab".repeat(32), "config": {"queue": "slow"}},
            "other": {"transport": "process", "command": ["/opt/other", "--fast"], "program": "/opt/teraslice"},
        }
    }}))
    .unwrap();
    let mine = &config.cluster_backends["mine"];
    assert_eq!(
        mine.transport,
        Transport::Library { path: "/opt/libmine.so".into(), sha256: Some("ab".repeat(32)) }
    );
    assert_eq!(mine.config, json!({"queue": "slow"}));
    assert_eq!(mine.config_pointer, "/teraslice/cluster_backends/mine/config");
    let other = &config.cluster_backends["other"];
    let command = vec!["/opt/other".to_owned(), "--fast".to_owned()];
    assert_eq!(other.transport, Transport::Process { command, sha256: None });
    assert_eq!(other.program.as_deref(), Some("/opt/teraslice"));
}

#[test]
fn refuses_backends_that_cannot_be() {
    let refused = |name: &str, entry: Value, words: &str| {
        let found = problems(json!({"teraslice": {"cluster_backends": {name: entry}}}));
        assert!(matches!(&found[..], [found] if found.contains(words)), "{found:?}");
    };
    refused("native", json!({"path": "/x.so"}), "is taken");
    refused("mine", json!("/x.so"), "/teraslice/cluster_backends/mine: mine must be an object");
    refused("mine", json!({}), "a library needs path, a process needs command");
    refused("mine", json!({"path": "/x.so", "command": ["x"]}), "exactly one of them");
    refused(
        "mine",
        json!({"transport": "pipe", "path": "/x.so"}),
        "must be library or process, found \"pipe\"",
    );
    refused("mine", json!({"path": "/x.so", "sha256": "12"}), "/mine/sha256: sha256 must be 64");
    let unknown = problems(json!({"teraslice": {"cluster_manager_type": "nobody"}}));
    assert!(unknown[0].contains("nobody"), "{unknown:?}");
}
