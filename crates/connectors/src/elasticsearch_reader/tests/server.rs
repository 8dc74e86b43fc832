//! The reader on real servers.

use std::sync::Arc;

use serde_json::{Value, json};
use teraslice_core::{
    conformance::{self, reader::Source},
    context::Context,
};
use teraslice_model::{
    batch::Batch,
    id::{ExId, WorkerId},
    job::Lifecycle,
    slice::Request,
    timestamp::Timestamp,
};

use super::super::{query::Query, *};
use crate::elastic::testing::{
    Index, checkpoint, indices, operation, settings as settings_of_index, slice, slicer_context, slices,
};

/// An index on a real server, and how it is read.
struct Real {
    index: Index,
    settings: Value,
    records: Vec<String>,
}

impl Real {
    fn config(&self) -> (IndexReaderConfig, OperationConfig) {
        let mut all = json!({"index": self.index.name, "date_field_name": "when"});
        all.as_object_mut().unwrap().extend(self.settings.as_object().unwrap().clone());
        (serde_json::from_value(all.clone()).unwrap(), operation("elasticsearch_reader", &all))
    }

    async fn slices(&self) -> Vec<Request> {
        let (config, operation) = self.config();
        let reader = ElasticsearchReader::new(&self.index.connections);
        let context = slicer_context(Lifecycle::Once, 2, Vec::new());
        let mut all = Vec::new();
        for mut slicer in reader.slicers(config, &operation, context).await.unwrap() {
            all.extend(slices(slicer.as_mut(), 100).await.into_iter().map(|(request, _)| request));
        }
        all
    }

    /// Returns the records of a slice, each with its metadata.
    async fn read(&self, request: &Request) -> Result<Vec<(String, String)>, OperationError> {
        let mut stream = self.fetcher().await.open(&slice(1, request.clone())).await?;
        let mut records = Vec::new();
        while let Some(fetched) = stream.next().await? {
            assert!(fetched.batch.len() <= Batch::RECORDS_MAX);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let both = |at| (text(fetched.batch.record(at)), text(fetched.batch.metadata_of(at).unwrap()));
            records.extend((0..fetched.batch.len()).map(both));
        }
        Ok(records)
    }
}

#[async_trait]
impl Source for Real {
    async fn slicer(&self, position: Option<Request>) -> Box<dyn Slicer> {
        let (config, operation) = self.config();
        let reader = ElasticsearchReader::new(&self.index.connections);
        let checkpoints = position.map(|at| checkpoint(0, Some(at))).into_iter().collect();
        let context = slicer_context(Lifecycle::Once, 1, checkpoints);
        reader.slicers(config, &operation, context).await.unwrap().swap_remove(0)
    }

    async fn fetcher(&self) -> Box<dyn Fetcher> {
        let (config, operation) = self.config();
        let reader = ElasticsearchReader::new(&self.index.connections);
        let context = WorkerContext {
            context: Context::system(),
            ex_id: ExId::from_random([1; 16]),
            worker: WorkerId::new("w"),
        };
        reader.fetcher(config, &operation, context).await.unwrap()
    }

    fn records(&self) -> Vec<String> {
        self.records.clone()
    }
}

fn document(n: i64) -> (String, String) {
    let when = Timestamp::from_millis(1_600_000_000_000 + n * 1_700);
    (format!("{n:05x}"), format!("{{\"n\":{n},\"when\":\"{when}\",\"id\":\"{n:05x}\"}}"))
}

#[tokio::test]
async fn keeps_the_laws_of_readers() {
    for settings in [json!({"size": 100}), json!({"size": 30, "interval": "1m", "time_resolution": "ms"})] {
        for index in indices(&settings_of_index(1)).await {
            index.write((0..500).map(document)).await;
            let records = (0..500).map(|n| document(n).1).collect();
            let real = Real { index, settings: settings.clone(), records };
            conformance::reader::run(&real).await;
            real.index.remove().await;
        }
    }
}

#[tokio::test]
async fn reads_every_page_of_a_large_slice() {
    let mut made = settings_of_index(3);
    made["settings"]["max_result_window"] = json!(70);
    for index in indices(&made).await {
        index.write((0..1_000).map(document)).await;
        let real = Real { index, settings: json!({"size": 10_000}), records: Vec::new() };
        let all = real.slices().await;
        assert_eq!(all.len(), 2);
        let mut found = Vec::new();
        for request in &all {
            found.extend(real.read(request).await.unwrap().into_iter().map(|(record, _)| record));
        }
        found.sort_unstable();
        let mut expected: Vec<_> = (0..1_000).map(|n| document(n).1).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
        // One that the original has counted, too low.
        let old = "{\"start\":\"2020-09-13T12:26:40.000Z\",\"end\":\"2030-01-01T00:00:00.000Z\",\
                    \"limit\":\"2030-01-01T00:00:00.000Z\",\"holes\":[],\"count\":2}";
        assert_eq!(real.read(&Request::from_json(old)).await.unwrap().len(), 1_000);
        real.index.remove().await;
    }
}

#[tokio::test]
async fn reads_pages_by_a_scroll_where_there_is_no_point_in_time() {
    for index in indices(&settings_of_index(2)).await {
        index.write((0..100).map(document)).await;
        let real = Real { index, settings: json!({}), records: Vec::new() };
        let (config, _) = real.config();
        let source = Arc::new(fetcher::Source::new(
            real.index.client.clone(),
            config.index.clone(),
            Query::new(&config),
            Context::system(),
        ));
        let query = source.query.of(&query::Part::default());
        for (size, pages) in [(30, 4), (50, 3), (200, 1)] {
            let mut next =
                Some(search::Search::paged(Arc::clone(&source), query.clone(), size, search::Ways::Scroll));
            let mut lens = Vec::new();
            while let Some(search) = next {
                let (page, more) = search.next().await.unwrap();
                lens.push(page.len);
                next = more;
            }
            assert_eq!((lens.iter().sum::<usize>(), lens.len()), (100, pages), "{lens:?}");
        }
        real.index.remove().await;
    }
}

#[tokio::test]
async fn asks_for_less_where_an_answer_is_too_large() {
    let document = |n: i64| (n.to_string(), format!("{{\"when\":{n},\"pad\":\"{}\"}}", "x".repeat(2_000)));
    for index in indices(&settings_of_index(2)).await {
        index.write((0..100).map(document)).await;
        let real = Real { index, settings: json!({}), records: Vec::new() };
        let (config, _) = real.config();
        let source = |bytes_max| {
            let (client, query) = (real.index.client.clone(), Query::new(&config));
            let mut source = fetcher::Source::new(client, config.index.clone(), query, Context::system());
            source.answer_bytes_max = bytes_max;
            Arc::new(source)
        };
        let large = source(20_000);
        let query = large.query.of(&query::Part::default());
        let mut next = Some(search::Search::once(Arc::clone(&large), query.clone(), 101, 101));
        let mut found = 0;
        while let Some(search) = next {
            let (page, more) = search.next().await.unwrap();
            assert!(page.bytes <= 20_000);
            found += page.len;
            next = more;
        }
        assert_eq!(found, 100);
        let small = search::Search::once(source(1_000), query, 101, 101).next().await.unwrap_err();
        assert_eq!(small.to_string(), "a document is larger than 1000 bytes");
        real.index.remove().await;
    }
}

#[tokio::test]
async fn reads_what_the_job_asks_for() {
    for index in indices(&settings_of_index(2)).await {
        index.write((0..100).map(document)).await;
        let settings = json!({"query": "n:[10 TO 19]", "fields": ["n"], "start": "2020-09-13T12:27:00Z"});
        let real = Real { index, settings, records: Vec::new() };
        let mut found = Vec::new();
        for request in real.slices().await {
            found.extend(real.read(&request).await.unwrap());
        }
        found.sort_unstable();
        assert_eq!(found.len(), 8, "{found:?}");
        assert_eq!(found[0].0, "{\"n\":12}");
        let metadata: Value = serde_json::from_str(&found[0].1).unwrap();
        assert_eq!((&metadata["_key"], &metadata["_index"]), (&json!("0000c"), &json!(real.index.name)));
        assert_eq!((&metadata["_version"], &metadata["_primary_term"]), (&json!(1), &json!(1)));
        assert!(metadata["_seq_no"].is_u64() && metadata["_eventTime"].is_u64(), "{metadata}");
        real.index.remove().await;
    }
}

#[tokio::test]
async fn cuts_dense_slices_by_ids() {
    for index in indices(&settings_of_index(2)).await {
        let same = |n: i64| (format!("{n:05x}"), format!("{{\"n\":{n},\"when\":5000,\"id\":\"{n:05x}\"}}"));
        index
            .write((0..300).map(same).chain([("x".to_owned(), "{\"n\":-1,\"when\":5000}".to_owned())]))
            .await;
        let settings = json!({"size": 50, "subslice_by_key": true, "subslice_key_threshold": 100,
                              "id_field_name": "id", "key_type": "hexadecimal"});
        let real = Real { index, settings, records: Vec::new() };
        let all = real.slices().await;
        assert!(all.len() > 6 && all[0].json().starts_with("{\"keys\":[\""), "{all:?}");
        let mut found = Vec::new();
        for request in &all {
            found.extend(real.read(request).await.unwrap().into_iter().map(|(record, _)| record));
        }
        found.sort_unstable();
        let mut expected: Vec<_> =
            (0..300).map(|n| same(n).1).chain(["{\"n\":-1,\"when\":5000}".to_owned()]).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
        real.index.remove().await;
    }
}

#[tokio::test]
async fn says_what_the_server_refuses() {
    for index in indices(&settings_of_index(1)).await {
        index.write((0..3).map(document)).await;
        let context = || slicer_context(Lifecycle::Once, 1, Vec::new());
        let refused = async |settings: Value| {
            let mut all = json!({"index": index.name, "date_field_name": "when"});
            all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            let operation = operation("elasticsearch_reader", &all);
            let reader = ElasticsearchReader::new(&index.connections);
            let made = reader.slicers(serde_json::from_value(all).unwrap(), &operation, context()).await;
            made.map(|_| ()).unwrap_err().to_string()
        };
        let message = refused(json!({"query": "n:["})).await;
        assert!(message.contains("/query: ") && message.contains("parse"), "{message}");
        let message = refused(json!({"date_field_name": "none"})).await;
        assert!(
            message.contains("/date_field_name: date_field_name is \"none\", which none of the 3"),
            "{message}"
        );
        let message = refused(json!({"index": "conn-no-such-index"})).await;
        assert!(message.contains("/index: ") && message.contains("index_not_found"), "{message}");
        index.remove().await;
    }
}
