use std::sync::Arc;

use serde_json::{Value, json};
use teraslice_core::{
    conformance::{self, reader::Source},
    context::Context,
};
use teraslice_model::{
    id::{ExId, WorkerId},
    slice::Request,
};

use super::*;
use crate::elastic::testing::{
    Index, checkpoint, counter::Memory, indices, job, operation, settings, slicer_context, slices,
};

fn config(more: &Value) -> IndexReaderConfig {
    let mut all = json!({"index": "i", "id_field_name": "id", "key_type": "hexadecimal"});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn says_what_is_wrong_with_its_settings() {
    let reader = IdReader::new(&Connections::default());
    let check = |settings: Value, lifecycle| {
        let problems =
            reader.check(&config(&settings), &operation("id_reader", &settings), &job(lifecycle, 1));
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        check(json!({"id_field_name": null}), Lifecycle::Once),
        "/id_field_name: id_field_name is missing (name a keyword field with the id)"
    );
    assert_eq!(
        check(json!({}), Lifecycle::Persistent),
        "/_op: id_reader reads an index once, but the job is persistent (set lifecycle: once, or use elasticsearch_reader)"
    );
    assert_eq!(
        check(json!({"starting_key_depth": 9}), Lifecycle::Once),
        "/starting_key_depth: starting_key_depth is 9, which makes too many prefixes (use at most 8)"
    );
    assert_eq!(check(json!({}), Lifecycle::Once), "");
}

#[tokio::test]
async fn slicers_share_the_ids_and_go_on_from_every_position() {
    let memory =
        Arc::new(Memory::of((0..2_000).map(|n: u32| (0, format!("{:x}", n.wrapping_mul(2_654_435_761))))));
    for settings in [json!({"size": 20}), json!({"size": 20, "recurse_optimization": true})] {
        let make = async |slicer: u32, at: Option<Request>| {
            let checkpoints = at.map(|at| checkpoint(slicer, Some(at))).into_iter().collect();
            let context = slicer_context(Lifecycle::Once, 3, checkpoints);
            let counter: Arc<Memory> = Arc::clone(&memory);
            slicer::slicers(&config(&settings), &context, counter).unwrap().swap_remove(slicer as usize)
        };
        let mut total = 0;
        for slicer in 0..3 {
            let all = slices(make(slicer, None).await.as_mut(), 1).await;
            for (request, _) in &all {
                total += request.parse::<Value>().unwrap()["count"].as_u64().unwrap();
            }
            for made in (0..all.len()).step_by(5) {
                let rest = slices(make(slicer, Some(all[made].1.clone())).await.as_mut(), 3).await;
                assert_eq!(rest.len(), all.len() - made - 1);
            }
        }
        assert_eq!(total, 2_000);
    }
}

/// An index on a real server.
struct Real {
    index: Index,
    settings: Value,
    records: Vec<String>,
}

impl Real {
    fn config(&self) -> (IndexReaderConfig, OperationConfig) {
        let mut all = json!({"index": self.index.name, "id_field_name": "id", "key_type": "hexadecimal"});
        all.as_object_mut().unwrap().extend(self.settings.as_object().unwrap().clone());
        (serde_json::from_value(all.clone()).unwrap(), operation("id_reader", &all))
    }
}

#[async_trait]
impl Source for Real {
    async fn slicer(&self, position: Option<Request>) -> Box<dyn Slicer> {
        let (config, operation) = self.config();
        let checkpoints = position.map(|at| checkpoint(0, Some(at))).into_iter().collect();
        let context = slicer_context(Lifecycle::Once, 1, checkpoints);
        let reader = IdReader::new(&self.index.connections);
        reader.slicers(config, &operation, context).await.unwrap().swap_remove(0)
    }

    async fn fetcher(&self) -> Box<dyn Fetcher> {
        let (config, operation) = self.config();
        let context = WorkerContext {
            context: Context::system(),
            ex_id: ExId::from_random([1; 16]),
            worker: WorkerId::new("w"),
        };
        IdReader::new(&self.index.connections).fetcher(config, &operation, context).await.unwrap()
    }

    fn records(&self) -> Vec<String> {
        self.records.clone()
    }
}

#[tokio::test]
async fn keeps_the_laws_of_readers() {
    let document = |n: i64| (format!("{n:03x}"), format!("{{\"n\":{n},\"id\":\"{n:03x}\"}}"));
    for settings in [json!({"size": 10}), json!({"size": 40, "recurse_optimization": true})] {
        for index in indices(&self::settings(1)).await {
            let odd = [
                ("rest-a".to_owned(), "{\"n\":-1,\"id\":\"x/y\"}".to_owned()),
                ("rest-b".to_owned(), "{\"n\":-2}".to_owned()),
            ];
            let all: Vec<_> = (0..300).map(document).chain(odd).collect();
            index.write(all.iter().cloned()).await;
            let records = all.into_iter().map(|(_, document)| document).collect();
            let real = Real { index, settings: settings.clone(), records };
            conformance::reader::run(&real).await;
            real.index.remove().await;
        }
    }
}
