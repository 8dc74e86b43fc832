//! Jobs bound to their operations, and everything that can be wrong with them.

use std::sync::Arc;

use serde_json::{Value, json};
use teraslice_model::{
    batch::Batch,
    job::{ApiConfig, CheckedJob, OperationConfig},
    problem::Problem,
};

use super::*;
use crate::{
    conformance::fake::{self, api, operation, refusing},
    operation::{OperationKind, Processed, Processor, SliceContext},
    plan::Stage,
};

/// An asset whose operations do nothing, but refuse the setting `bad`.
#[derive(Debug)]
struct FakeAsset {
    name: &'static str,
    version: &'static str,
    operations: Vec<OperationInfo>,
}

impl FakeAsset {
    fn new(name: &'static str, version: &'static str, operations: &[&str]) -> Arc<Self> {
        let info = |name: &&str| {
            let schema = json!({"properties": {"good": {}, "bad": {}}});
            OperationInfo::built_in(name, OperationKind::Processor, "Does nothing.", schema)
        };
        Arc::new(Self { name, version, operations: operations.iter().map(info).collect() })
    }
}

impl Asset for FakeAsset {
    fn name(&self) -> (&str, &str) {
        (self.name, self.version)
    }

    fn id(&self) -> Option<&str> {
        (self.name == "second").then_some("4c08eb1d6e1ed0e0d8d8cbcbb4a1a2f5e4d8a4d1")
    }

    fn operations(&self) -> &[OperationInfo] {
        &self.operations
    }

    fn chain(&self, steps: &[OperationConfig]) -> Result<Arc<dyn ProcessorFactory>, Vec<Problem>> {
        let bad = |(at, step): (usize, &OperationConfig)| {
            step.settings.contains_key("bad").then(|| Problem::new(format!("/{at}/bad"), "bad on purpose"))
        };
        let problems: Vec<_> = steps.iter().enumerate().filter_map(bad).collect();
        if problems.is_empty() { Ok(Arc::new(FakeChain(steps.len()))) } else { Err(problems) }
    }
}

#[derive(Debug)]
struct FakeChain(usize);

impl ProcessorFactory for FakeChain {
    fn steps(&self) -> usize {
        self.0
    }

    fn open(&self, _: &SliceContext) -> Result<Box<dyn Processor>, OperationError> {
        Ok(Box::new(Self(self.0)))
    }
}

impl Processor for FakeChain {
    fn process(&mut self, _: &Batch) -> Result<Processed, OperationError> {
        Ok(Processed::default())
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        Ok(Processed::default())
    }
}

fn registry() -> Registry {
    let (mut registry, _) = fake::registry();
    registry.asset(FakeAsset::new("first", "1.2.0", &["filter", "sort", "shared"]));
    registry.asset(FakeAsset::new("second", "0.1.0", &["dedupe", "shared"]));
    registry
}

fn job(middle: Vec<OperationConfig>) -> CheckedJob {
    let mut operations = vec![operation("counting_reader", json!({}))];
    operations.extend(middle);
    operations.push(operation("memory_sink", json!({})));
    fake::job(operations, Vec::new())
}

fn of_asset(op: &str, asset: &str) -> OperationConfig {
    OperationConfig { asset: Some(asset.to_owned()), ..operation(op, json!({})) }
}

fn problems(job: CheckedJob) -> Vec<String> {
    let refused = registry().plan(Arc::new(job)).unwrap_err();
    refused.iter().map(ToString::to_string).collect()
}

/// Writes stages as in `1+2 sink 3`: chains by the number of their steps.
fn stages(plan: &Plan) -> String {
    let stage = |stage: &Stage| match stage {
        Stage::Chains(chains) => {
            let chains: Vec<_> = chains.iter().map(|chain| chain.factory.steps().to_string()).collect();
            chains.join("+")
        }
        Stage::Sink { operation, .. } => format!("sink {operation}"),
    };
    plan.stages().iter().map(stage).collect::<Vec<_>>().join(", ")
}

#[test]
fn makes_one_chain_of_neighbours_of_one_asset_and_one_stage_of_neighbouring_chains() {
    let middle = vec![
        operation("filter", json!({})),
        operation("sort", json!({})),
        operation("dedupe", json!({})),
        operation("memory_sink", json!({})),
        operation("holding_processor", json!({})),
        operation("filter", json!({})),
    ];
    let plan = registry().plan(Arc::new(job(middle))).unwrap();
    assert_eq!(stages(&plan), "2+1, sink 4, 1+1, sink 7");
    let names: Vec<_> = plan.operations().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names[..3], ["counting_reader", "filter", "sort"]);
    assert!(plan.is_recoverable());
    assert_eq!((plan.queue_len_max(), plan.warnings()), (10_000, &[][..]));
}

#[test]
fn reports_every_problem_at_once_with_its_place_in_the_job() {
    let operations = vec![
        operation("counting_reader", json!({"batch": 0})),
        operation("fliter", json!({})),
        operation("filter", json!({})),
        operation("sort", json!({"bad": 1})),
        operation("failing_processor", json!({"at": "one", "how": "drop"})),
        operation("counting_reader", json!({})),
        operation("memory_sink", json!({"target": ""})),
    ];
    assert_eq!(
        problems(fake::job(operations, Vec::new())),
        [
            "/operations/0/batch: a batch of 0 records (1 or more)",
            "/operations/1/_op: unknown operation \"fliter\" (did you mean \"filter\"? known: dedupe, \
             failing_processor, filter, holding_processor, memory_sink, passing_processor, shared, sort)",
            "/operations/3/bad: bad on purpose",
            "/operations/4/at: invalid type: string \"one\", expected u64",
            "/operations/5/_op: only the first operation can be a reader, as \"counting_reader\" is",
            "/operations/6/target: no target (any text)",
        ]
    );
}

#[test]
fn wants_a_reader_first() {
    let operations = vec![operation("filter", json!({})), operation("memory_sink", json!({}))];
    let message = "/operations/0/_op: the first operation has to be a reader, \"filter\" is a processor";
    assert_eq!(problems(fake::job(operations, Vec::new())), [message]);
    assert_eq!(problems(fake::job(Vec::new(), Vec::new())), ["/operations: the job has no operation"]);
}

#[test]
fn asks_which_asset_is_meant_when_several_have_the_operation() {
    assert_eq!(
        problems(job(vec![operation("shared", json!({}))])),
        ["/operations/1/_op: operation \"shared\" is in several assets: first:1.2.0 and second:0.1.0 \
          (write shared@first:1.2.0 or shared@second:0.1.0)"]
    );
}

#[test]
fn takes_an_operation_from_the_asset_that_is_named() {
    let id = "4c08eb1d6e1ed0e0d8d8cbcbb4a1a2f5e4d8a4d1";
    for asset in ["second", "second:0.1.0", id] {
        registry().plan(Arc::new(job(vec![of_asset("shared", asset)]))).unwrap();
    }
    let listed =
        CheckedJob { assets: vec!["first:1.x".to_owned()], ..job(vec![of_asset("shared", "first:1.x")]) };
    registry().plan(Arc::new(listed)).unwrap();
    let listed = CheckedJob { assets: vec!["first".to_owned()], ..job(vec![operation("shared", json!({}))]) };
    registry().plan(Arc::new(listed)).unwrap();
}

#[test]
fn names_what_an_asset_has_and_which_assets_there_are() {
    assert_eq!(
        problems(job(vec![
            of_asset("dedup", "second"),
            of_asset("filter", "frist"),
            of_asset("sort", "first:9.0.0")
        ])),
        [
            "/operations/1/_op: unknown operation of asset second \"dedup\" (did you mean \"dedupe\"? known: dedupe, shared)",
            "/operations/2/_op: unknown asset \"frist\" (did you mean \"first\"? known: first, second)",
            "/operations/3/_op: unknown asset \"first:9.0.0\" (known: first, second)",
        ]
    );
}

#[test]
fn warns_of_settings_that_nobody_reads() {
    let settings = json!({"targte": "x"});
    let operations = vec![operation("counting_reader", json!({})), operation("memory_sink", settings)];
    let plan = registry().plan(Arc::new(fake::job(operations, Vec::new()))).unwrap();
    let warnings: Vec<_> = plan.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "/operations/1/targte: unknown setting \"targte\" (did you mean \"target\"? known: target, refuse, \
          fail_commits, panics)"
        ]
    );
}

fn with_api(sink: OperationConfig, api: ApiConfig) -> CheckedJob {
    fake::job(vec![operation("counting_reader", json!({})), sink], vec![api])
}

#[test]
fn points_at_the_api_that_a_setting_comes_from() {
    let named = |settings: Value| OperationConfig {
        api_name: Some("memory_sender_api".to_owned()),
        ..operation("memory_sink", settings)
    };
    let from_api = with_api(named(json!({"target": ""})), api("memory_sender_api", json!({"target": ""})));
    assert_eq!(problems(from_api), ["/apis/0/target: no target (any text)"]);
    let own = CheckedJob {
        document: json!({"operations": [{}, {"target": ""}]}).as_object().unwrap().clone(),
        ..with_api(named(json!({"target": ""})), api("memory_sender_api", json!({"target": "x"})))
    };
    assert_eq!(problems(own), ["/operations/1/target: no target (any text)"]);
}

#[test]
fn checks_where_dead_letters_go() {
    let sink = |action: &str| refusing("memory_sink", json!({}), action);
    let cases = [
        (
            with_api(sink("memory_sendr_api"), api("memory_sender_api", json!({}))),
            "/operations/1/_dead_letter_action: unknown dead letter action \"memory_sendr_api\" (did you mean \
             \"memory_sender_api\"? known: throw, log, none, store, memory_sender_api)",
        ),
        (
            with_api(sink("other_api"), api("other_api", json!({}))),
            "/operations/1/_dead_letter_action: api \"other_api\" cannot take dead letters (kinds of api that can: \
             memory_sender_api)",
        ),
        (
            with_api(sink("memory_sender_api:a"), api("memory_sender_api:a", json!({"target": 1}))),
            "/apis/0/target: invalid type: integer `1`, expected a string",
        ),
    ];
    for (job, message) in cases {
        assert_eq!(problems(job)[0], message);
    }
}

#[test]
fn warns_of_apis_that_nobody_knows() {
    let job = with_api(operation("memory_sink", json!({})), api("memory_sendr_api:x", json!({})));
    let plan = registry().plan(Arc::new(job)).unwrap();
    let warnings: Vec<_> = plan.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["/apis/0/_name: unknown api \"memory_sendr_api\" (did you mean \"memory_sender_api\"? known: \
          memory_sender_api)"]
    );
}

#[test]
fn lists_every_operation() {
    let operations = registry().operations();
    let names: Vec<_> = operations.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(names[..2], ["counting_reader", "failing_processor"]);
    assert_eq!(names[5..8], ["filter", "sort", "shared"]);
}
