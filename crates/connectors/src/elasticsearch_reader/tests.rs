mod server;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use teraslice_core::context::Context;
use teraslice_model::{job::Lifecycle, slice::Request, timestamp::Timestamp};

use super::*;
use crate::elastic::testing::{checkpoint, counter::Memory, job, operation, slicer_context, slices};

fn config(more: &Value) -> IndexReaderConfig {
    let mut all = json!({"index": "i", "date_field_name": "when"});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn says_what_is_wrong_with_its_settings() {
    let cases = [
        (json!({"index": ""}), "/index: index is \"\", a name is needed (name an index)"),
        (json!({"size": 0}), "/size: size is 0, at least 1 record is needed"),
        (json!({"date_field_name": ""}), "/date_field_name: date_field_name is missing (name the field"),
        (
            json!({"interval": "1_day"}),
            "/interval: interval is \"1_day\", which is no time span (use auto, or",
        ),
        (json!({"delay": "auto"}), "/delay: delay is \"auto\", which is no time span (use a whole number"),
        (json!({"start": "soon"}), "/start: start is \"soon\", which is no date (use ISO 8601"),
        (
            json!({"start": "2024-01-02", "end": "2024-01-01"}),
            "/start: start is \"2024-01-02\", which is not before end \"2024-01-01\" (end is exclusive",
        ),
        (
            json!({"subslice_by_key": true}),
            "/id_field_name: id_field_name is missing, which subslice_by_key needs",
        ),
        (json!({"subslice_key_threshold": 0}), "/subslice_key_threshold: subslice_key_threshold is 0"),
        (
            json!({"key_type": "hexadecimal", "key_range": ["a", "g"]}),
            "/key_range/1: key_range has \"g\", which is no character of key_type (use some of 0123456789abcdef)",
        ),
        (json!({"geo_field": "at"}), "/geo_field: geo_field is set, but neither a box nor a distance"),
    ];
    let reader = ElasticsearchReader::new(&Connections::default());
    for (settings, message) in cases {
        let operation = operation("elasticsearch_reader", &settings);
        let problems = reader.check(&config(&settings), &operation, &job(Lifecycle::Once, 1));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].to_string().starts_with(message), "{}", problems[0]);
    }
    let operation = operation("elasticsearch_reader", &json!({}));
    let check = |settings: Value, lifecycle, slicers| {
        let problems = reader.check(&config(&settings), &operation, &job(lifecycle, slicers));
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        check(json!({}), Lifecycle::Persistent, 1),
        "/interval: interval is \"auto\", a persistent job needs a fixed one (set the length of a window, as in 5m)"
    );
    assert_eq!(
        check(json!({"id_field_name": "id", "key_type": "hexadecimal"}), Lifecycle::Once, 17),
        "/key_range: key_range has 16 keys, too few for 17 slicers (every slicer needs a key of its own)"
    );
    assert_eq!(check(json!({"interval": "5m", "delay": "0s"}), Lifecycle::Persistent, 1), "");
}

#[test]
fn takes_settings_of_all_ages() {
    let old = config(&json!({"field": "id", "time_resolution": "seconds", "start": 1_500}));
    assert_eq!((old.id_field_name.as_deref(), old.dates(0).unwrap()), (Some("id"), (Some(1_500), None)));
    assert_eq!(config(&json!({"interval": "1500ms"})).interval_ms().unwrap(), Some(1_000));
    assert_eq!(
        config(&json!({"interval": "1500ms", "time_resolution": "ms"})).interval_ms().unwrap(),
        Some(1_500)
    );
}

fn records(times: impl IntoIterator<Item = i64>) -> Memory {
    Memory::of(times.into_iter().enumerate().map(|(at, time)| (time, format!("{at:04x}"))))
}

async fn slicer(
    memory: &Arc<Memory>,
    settings: &Value,
    slicer: u32,
    of: u32,
    at: Option<Request>,
) -> Box<dyn Slicer> {
    let counter: Arc<dyn count::Counter> = Arc::<Memory>::clone(memory);
    let checkpoints = at.map(|at| checkpoint(slicer, Some(at))).into_iter().collect();
    let context = slicer_context(Lifecycle::Once, of, checkpoints);
    let mut made = super::slicer::slicers(&config(settings), &context, counter).await.unwrap();
    made.swap_remove(slicer as usize)
}

/// Returns start, end and count of slices.
fn spans(slices: &[(Request, Request)]) -> Vec<(i64, i64, u64)> {
    let span = |(request, _): &(Request, Request)| {
        let request: Value = request.parse().unwrap();
        let time = |key: &str| request[key].as_str().unwrap().parse::<Timestamp>().unwrap().as_millis();
        (time("start"), time("end"), request["count"].as_u64().unwrap())
    };
    slices.iter().map(span).collect()
}

#[tokio::test]
async fn writes_requests_as_the_original_does() {
    let memory = Arc::new(records([1_500, 2_700]));
    let all = slices(slicer(&memory, &json!({}), 0, 1, None).await.as_mut(), 10).await;
    assert_eq!(
        all[0].0.json(),
        "{\"start\":\"1970-01-01T00:00:01.000Z\",\"end\":\"1970-01-01T00:00:03.000Z\",\
         \"limit\":\"1970-01-01T00:00:03.000Z\",\"holes\":[],\"count\":2}"
    );
}

#[tokio::test]
async fn reads_the_last_part_of_a_second() {
    let memory = Arc::new(records([1_000, 2_650]));
    let settings = json!({"end": 2_700});
    let all = slices(slicer(&memory, &settings, 0, 1, None).await.as_mut(), 10).await;
    assert_eq!(spans(&all), [(1_000, 3_000, 2)]);
    let fine = json!({"end": 2_700, "time_resolution": "ms"});
    let all = slices(slicer(&memory, &fine, 0, 1, None).await.as_mut(), 10).await;
    assert_eq!(spans(&all), [(1_000, 2_700, 2)]);
}

/// Records in bursts, over some days.
fn bursts() -> Vec<i64> {
    let mut random = fastrand::Rng::with_seed(3);
    let mut times: Vec<i64> = (0..4_000)
        .map(|_| [0, 3_600_000, 90_000_000, 400_000_000][random.usize(..4)] + random.i64(0..5_000_000))
        .collect();
    times.extend(vec![90_001_000; 700]);
    times.sort_unstable();
    times
}

#[tokio::test]
async fn goes_on_from_every_position() {
    let memory = Arc::new(records(bursts()));
    for settings in [
        json!({"size": 100}),
        json!({"size": 300, "time_resolution": "ms"}),
        json!({"size": 100, "interval": "10m"}),
        json!({"size": 100, "interval": "2h", "time_resolution": "ms", "recurse_optimization": true}),
        json!({"size": 50, "subslice_by_key": true, "subslice_key_threshold": 200, "id_field_name": "id",
               "key_type": "hexadecimal"}),
    ] {
        for number in 0..2 {
            let all = slices(slicer(&memory, &settings, number, 2, None).await.as_mut(), 1).await;
            assert_eq!(
                slices(slicer(&memory, &settings, number, 2, None).await.as_mut(), 1_000).await.len(),
                all.len()
            );
            for (made, (_, position)) in all.iter().enumerate() {
                let mut rest = slicer(&memory, &settings, number, 2, Some(position.clone())).await;
                let rest = slices(rest.as_mut(), 7).await;
                let requests = |slices: &[(Request, Request)]| {
                    slices.iter().map(|one| one.0.clone()).collect::<Vec<_>>()
                };
                assert_eq!(requests(&rest), requests(&all[made + 1..]), "{settings} after {made}");
            }
        }
    }
}

#[tokio::test]
async fn every_record_is_in_one_slice() {
    let times = bursts();
    let memory = Arc::new(records(times.clone()));
    for settings in
        [json!({"size": 100}), json!({"size": 100, "interval": "1s"}), json!({"size": 10, "interval": "1d"})]
    {
        let mut total = 0;
        for number in 0..3 {
            let spans =
                spans(&slices(slicer(&memory, &settings, number, 3, None).await.as_mut(), 1_000).await);
            assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "no gap and no overlap");
            for (start, end, count) in spans {
                let there = times.iter().filter(|time| (start..end).contains(*time)).count() as u64;
                assert_eq!(there, count, "{settings} {start} to {end}");
                total += count;
            }
        }
        assert_eq!(total, times.len() as u64, "{settings}");
    }
}

#[tokio::test]
async fn asks_seldom_and_makes_even_slices() {
    let memory = Arc::new(records((0..200_000).map(|n| n * 250)));
    let all = spans(&slices(slicer(&memory, &json!({"size": 500}), 0, 1, None).await.as_mut(), 1_000).await);
    let asked = memory.asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(all.len() < 480 && asked < 10, "{} slices, asked {asked} times", all.len());
    assert!(all.iter().rev().skip(1).all(|(_, _, count)| (400..=500).contains(count)), "{all:?}");
}

#[tokio::test]
async fn ends_at_once_where_nothing_is() {
    let memory = Arc::new(records([]));
    let mut slicer = slicer(&memory, &json!({}), 1, 2, None).await;
    let sliced = slicer.next(5).await.unwrap();
    assert_eq!((sliced.requests.len(), sliced.is_exhausted), (0, true));
    let memory = Arc::new(records([5]));
    let context = slicer_context(Lifecycle::Once, 2, vec![checkpoint(0, Some(sliced.position))]);
    let mut again = super::slicer::slicers(&config(&json!({})), &context, memory).await.unwrap();
    assert!(again[0].next(5).await.unwrap().is_exhausted, "it stays so");
}

#[tokio::test]
async fn keeps_its_parts_while_the_index_grows() {
    let memory = Arc::new(records((0..100).map(|n| n * 1_000)));
    let settings = json!({"size": 10});
    let mut first = slicer(&memory, &settings, 0, 2, None).await;
    let position = first.next(1).await.unwrap().position;
    let grown = Arc::new(records((0..1_000).map(|n| n * 1_000)));
    let context = slicer_context(Lifecycle::Once, 3, vec![checkpoint(0, Some(position))]);
    let mut made = super::slicer::slicers(&config(&settings), &context, grown).await.unwrap();
    assert_eq!(made.len(), 2, "there are no more slicers than parts");
    let second = spans(&slices(made[1].as_mut(), 1_000).await);
    assert_eq!((second[0].0, second[second.len() - 1].1), (50_000, 100_000));
}

#[tokio::test(start_paused = true)]
async fn follows_the_present_window_by_window() {
    let context = SlicerContext {
        context: Context::simulated(1),
        ..slicer_context(Lifecycle::Persistent, 2, Vec::new())
    };
    let now = context.context.wall().as_millis();
    // A record every second, from an hour ago until an hour from now.
    let memory = Arc::new(records((-3_600..3_600).map(|second| now / 1_000 * 1_000 + second * 1_000)));
    let settings = config(&json!({"interval": "60s", "delay": "30s", "size": 1_000}));
    let mut made =
        super::slicer::slicers(&settings, &context, Arc::<Memory>::clone(&memory) as _).await.unwrap();
    let mut told = Vec::new();
    for slicer in &mut made {
        let begin = context.context.now();
        let mut requests = Vec::new();
        let mut position = None;
        while requests.len() < 3 {
            let sliced =
                tokio::time::timeout(Duration::from_secs(600), slicer.next(10)).await.unwrap().unwrap();
            assert!(!sliced.is_exhausted);
            position = Some(sliced.position);
            requests.extend(sliced.requests.into_iter().map(|request| (request, Request::from_json("0"))));
        }
        told.push((spans(&requests), position, begin.elapsed().as_secs()));
    }
    let start = now - 90_000;
    let part = |window: i64, half: i64| {
        (start + window * 60_000 + half * 30_000, start + window * 60_000 + half * 30_000 + 30_000, 30)
    };
    assert_eq!(told[0].0, [part(0, 0), part(1, 0), part(2, 0)]);
    assert_eq!(told[1].0, [part(0, 1), part(1, 1), part(2, 1)]);
    assert!((90..=121).contains(&told[0].2), "the third window was not there before: {}", told[0].2);
    // Started again, each goes on with its next window.
    let checkpoints = (0..2).map(|id| checkpoint(id, told[id as usize].1.clone())).collect();
    let context = SlicerContext { checkpoints, ..context };
    let mut again = super::slicer::slicers(&settings, &context, memory).await.unwrap();
    let sliced = loop {
        let sliced = again[0].next(10).await.unwrap();
        if !sliced.requests.is_empty() {
            break sliced;
        }
    };
    assert_eq!(spans(&[(sliced.requests[0].clone(), sliced.position)]), [part(3, 0)]);
}
