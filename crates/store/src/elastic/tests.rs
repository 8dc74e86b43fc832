//! Tests on real servers, each under a cluster name of its own. `TERASLICE_TEST_ELASTIC` names the servers.

mod alike;
mod failures;
mod ledger;
mod lost;
mod original;
mod speed;

use std::{
    env,
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use teraslice_core::{
    conformance::store::{execution, record as slice, run},
    context::Context,
    store::{StateStore, Totals},
};
use teraslice_elastic::{Client, Request, Settings};
use teraslice_model::{
    checkpoint::Checkpoint,
    dead_letter::{DeadLetter, Encoding},
    status::Status,
};

use super::*;

const SERVERS: &str = "TERASLICE_TEST_ELASTIC";
const ALL: Page = Page { from: 0, size: u64::MAX };
/// The writer that the execution of the conformance suite accepts from the start.
const FIRST: Writer = Writer { generation: Generation(1), epoch: Epoch(0) };

fn tell(line: &str) {
    let _told = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A server under test, with a cluster name that nobody else uses.
struct Stage {
    client: Client,
    name: String,
}

impl Stage {
    /// Returns one per server; without any it says so.
    fn all() -> Vec<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(servers) = env::var(SERVERS) else {
            tell(&format!(
                "NOT RUN: this case needs Elasticsearch or OpenSearch: set {SERVERS} to its address"
            ));
            return Vec::new();
        };
        let stage = |server: &str| {
            let settings = json!({"node": server.trim()});
            let settings = Settings::of(settings.as_object().unwrap()).unwrap();
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("store-{}-{number}", std::process::id());
            Self { client: Client::new("test", settings).unwrap(), name }
        };
        servers.split(',').filter(|server| !server.trim().is_empty()).map(stage).collect()
    }

    fn options(&self) -> ElasticOptions {
        ElasticOptions {
            indices: Indices::alike(Shards { count: 1, replicas: 0 }),
            append_interval: Duration::ZERO,
            ..ElasticOptions::new(Context::system(), &self.name)
        }
    }

    async fn open(&self) -> ElasticStore {
        ElasticStore::open(self.client.clone(), &self.options()).await.unwrap()
    }

    async fn ask(&self, request: Request) -> Value {
        self.client.send(&request).await.unwrap().json().unwrap()
    }

    /// Removes everything of the name.
    async fn clear(&self) {
        let path = format!("/_cat/indices/{}__*?format=json&h=index", self.name);
        let indices = self.ask(Request::get(path)).await;
        let indices: Vec<_> =
            indices.as_array().unwrap().iter().map(|it| it["index"].as_str().unwrap()).collect();
        if !indices.is_empty() {
            self.ask(Request::delete(format!("/{}", indices.join(",")))).await;
        }
        for index in index::Index::ALL {
            let (template, _) = index::Layout::new(&self.options()).template(index);
            let _gone =
                self.client.find(&Request::delete(format!("/_index_template/{template}"))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn keeps_the_laws_of_a_state_store() {
    for stage in Stage::all() {
        let used: Mutex<Vec<Stage>> = Mutex::default();
        run(async || {
            let number = used.lock().unwrap().len();
            let one = Stage { client: stage.client.clone(), name: format!("{}-{number}", stage.name) };
            let last = used.lock().unwrap().pop();
            if let Some(last) = &last {
                last.clear().await;
            }
            let store: Arc<dyn StateStore> = Arc::new(one.open().await);
            used.lock().unwrap().extend(last.into_iter().chain([one]));
            store
        })
        .await;
        let last = used.lock().unwrap().pop();
        last.unwrap().clear().await;
    }
}
