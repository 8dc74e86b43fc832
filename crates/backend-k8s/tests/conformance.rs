//! The laws of a cluster backend, on a real cluster whose pods stand for controllers and workers.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use teraslice_backend_k8s::{Kubernetes, KubernetesSettings, client};
use teraslice_core::{backend::Instance, conformance::backend, context::Context};
use tokio::time::sleep;

const CONFIG_MAP: &str = "conformance-worker";
/// The image of `tests/k8s/instance.sh`.
const IMAGE: &str = "localhost/teraslice-instance:1";

struct Cluster {
    client: Client,
    settings: KubernetesSettings,
    context: Context,
    looking: Kubernetes,
}

impl Cluster {
    async fn new(client: Client, namespace: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let context = Context::system();
        let name = format!("c{}-{}", context.wall().as_millis(), COUNT.fetch_add(1, Ordering::Relaxed));
        let settings = KubernetesSettings {
            namespace: namespace.to_owned(),
            image: IMAGE.to_owned(),
            config_map: CONFIG_MAP.to_owned(),
            cpu_controller: 0.01,
            memory_controller: 32 << 20,
            shutdown_timeout: Duration::from_secs(1),
            ..KubernetesSettings::new(name)
        };
        let looking = Kubernetes::new(settings.clone(), client.clone(), context.clone());
        Self { client, settings, context, looking }
    }
}

impl backend::Cluster for Cluster {
    type Backend = Kubernetes;

    fn connect(&self) -> Kubernetes {
        Kubernetes::new(self.settings.clone(), self.client.clone(), self.context.clone())
    }

    async fn ready(&self, instances: &[Instance]) {
        // As many as these, as those that are not made yet have no name to wait for.
        let is_ready = || {
            let of_each = |ex_id| {
                let pods = self.looking.pods().into_iter();
                pods.filter(|pod| pod.is_running && pod.purpose.is_some_and(|it| it.ex_id == ex_id)).count()
            };
            instances.first().is_none_or(|first| of_each(first.ex_id) >= instances.len())
        };
        while !is_ready() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn prepare(client: &Client, namespace: &str) {
    let params = PatchParams::apply("conformance").force();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    namespaces.patch(namespace, &params, &Patch::Apply(object)).await.expect("the namespace can be made");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": {"teraslice.yaml": "{}"},
    });
    maps.patch(CONFIG_MAP, &params, &Patch::Apply(map)).await.expect("the config map can be made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: KUBECONFIG"]
async fn keeps_the_laws_of_a_backend() {
    let client = client().await.expect("KUBECONFIG leads to a cluster");
    let namespace = format!("ts-conformance-{}", Context::system().wall().as_millis());
    prepare(&client, &namespace).await;
    Box::pin(backend::run(async || Cluster::new(client.clone(), &namespace).await)).await;
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
}
