//! The configuration as it is in force: defaults filled in, secrets left out.

use std::time::Duration;

use serde_json::{Value, json};
use teraslice_backend_k8s::KubernetesSettings;

use super::{ClusterConfig, Config};

impl Config {
    /// Returns what is in force; where there is a secret it says only that there is one.
    #[must_use]
    pub fn document(&self) -> Value {
        let secret = |secret: &Option<String>| secret.as_ref().map(|_| "(set)");
        let ClusterConfig { name, is_master, master_hostname, port, hostname, node_id, slots, .. } =
            &self.cluster;
        let cluster = &self.cluster;
        let wasm = &self.wasm;
        let mut document = json!({
            "file": self.path,
            "terafoundation": {
                "connectors": self.connections,
                "log_level": self.logs.level,
                "log_path": self.logs.folder,
                "logging": {"console": self.logs.has_console, "file": self.logs.folder.is_some()},
                "prom_metrics_enabled": cluster.metrics_port.is_some(),
                "prom_metrics_port": cluster.metrics_port,
                "prom_metrics_display_url": cluster.metrics_url,
            },
            "teraslice": {
                "action_timeout": millis(cluster.action_timeout),
                "api_auth": if cluster.has_tokens { "tokens" } else { "none" },
                "api_body_limit": cluster.body_limit,
                "api_response_timeout": millis(cluster.api_response_timeout),
                "api_unprotected": cluster.is_unprotected.then_some(super::UNPROTECTED),
                "assets_directory": self.assets_directories,
                "autoload_directory": self.autoload_directory,
                "bind": cluster.listen_address(),
                "cluster_backends": self.cluster_backends.keys().collect::<Vec<_>>(),
                "cluster_manager_type": self.cluster_manager_type,
                "cluster_secret": secret(&cluster.secret),
                "env_vars": self.env_vars,
                "hostname": hostname,
                "master": is_master,
                "master_hostname": master_hostname,
                "name": name,
                "node_disconnect_timeout": millis(cluster.node_disconnect_timeout),
                "node_id": node_id,
                "node_secret": secret(&cluster.node_secret),
                "node_state_interval": millis(cluster.node_state_interval),
                "port": port,
                "shutdown_timeout": millis(self.shutdown_timeout),
                "slicer_port_range": format!("{}:{}", cluster.ports.start(), cluster.ports.end()),
                "slicer_timeout": millis(self.slicer_timeout),
                "start_timeout": self.start_timeout.map(millis),
                "state": {"connection": self.state.connection.as_deref().unwrap_or("sqlite")},
                "state_directory": self.state_directory,
                "tls": cluster.tls.as_ref().map(|tls| json!({"ca": tls.ca, "cert": tls.cert, "key": tls.key})),
                "wasm": {
                    "memory": wasm.memory,
                    "memory_max": wasm.memory_max,
                    "time_per_batch": millis(wasm.time_per_batch),
                    "time_per_batch_max": millis(wasm.time_per_batch_max),
                    "cache_size": wasm.cache_size,
                    "trusted": wasm.trusted,
                },
                "worker_disconnect_timeout": millis(self.worker_disconnect_timeout),
                "workers": slots,
            },
        });
        if self.is_kubernetes()
            && let Some(ours) = document["teraslice"].as_object_mut()
        {
            ours.extend(pods(&self.kubernetes));
        }
        document
    }
}

/// Returns what pods are made with.
fn pods(settings: &KubernetesSettings) -> [(String, Value); 10] {
    [
        ("assets_volume", json!(settings.assets_volume)),
        ("cpu", json!(settings.cpu)),
        ("cpu_execution_controller", json!(settings.cpu_controller)),
        ("kubernetes_config_map_name", json!(settings.config_map)),
        ("kubernetes_image", json!(settings.image)),
        ("kubernetes_namespace", json!(settings.namespace)),
        ("kubernetes_overrides_enabled", json!(settings.has_overrides)),
        ("kubernetes_service_account", json!(settings.service_account)),
        ("memory", json!(settings.memory)),
        ("memory_execution_controller", json!(settings.memory_controller)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
