//! Binds a job to its operations, and finds everything that is wrong with it on the way.

use std::sync::Arc;

use serde_json::{Map, Value};
use teraslice_model::{
    dead_letter::DeadLetterAction,
    job::{ApiConfig, CheckedJob, OperationConfig},
    problem::{Problem, escape_pointer},
};

use super::{
    Asset, BuiltIn, Registry,
    erased::{AnySink, BoundReader},
    resolve::{Resolved, resolve},
};
use crate::{
    operation::{OperationInfo, ProcessorFactory},
    plan::{Chain, LetterBox, Plan, Refusal, Stage},
};

/// The words of `_dead_letter_action` that name no API.
const ACTIONS: [&str; 4] = ["throw", "log", "none", "store"];

/// A plan in the making.
struct Planning<'a> {
    registry: &'a Registry,
    job: &'a CheckedJob,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    infos: Vec<OperationInfo>,
    reader: Option<Arc<dyn BoundReader>>,
    stages: Vec<Stage>,
    letter_boxes: Vec<LetterBox>,
    refusals: Vec<Refusal>,
}

pub(super) fn plan(registry: &Registry, job: Arc<CheckedJob>) -> Result<Plan, Vec<Problem>> {
    let mut planning = Planning {
        registry,
        job: &job,
        problems: Vec::new(),
        warnings: Vec::new(),
        infos: Vec::new(),
        reader: None,
        stages: Vec::new(),
        letter_boxes: Vec::new(),
        refusals: Vec::new(),
    };
    planning.operations();
    planning.apis();
    let Planning { problems, warnings, infos, reader, stages, letter_boxes, refusals, .. } = planning;
    match reader {
        Some(reader) if problems.is_empty() => {
            Ok(Plan::new(job, warnings, infos, reader, stages, letter_boxes, refusals))
        }
        None if problems.is_empty() => Err(vec![Problem::new("/operations", "the job has no operation")]),
        _ => Err(problems),
    }
}

impl Planning<'_> {
    fn operations(&mut self) {
        let job = self.job;
        let mut index = 0;
        while let Some(config) = job.operations.get(index) {
            match resolve(self.registry, job, index, config) {
                Ok(Resolved::Asset(asset, _)) => {
                    let asset = Arc::clone(asset);
                    index = self.chain(&asset, index);
                    continue;
                }
                Ok(Resolved::BuiltIn(operation)) => self.built_in(operation, index, config),
                Err(problem) => self.problems.push(problem),
            }
            index += 1;
        }
    }

    fn built_in(&mut self, operation: &BuiltIn, index: usize, config: &OperationConfig) {
        let info = operation.info();
        self.introduce(&info, index, config);
        let bound = match operation {
            BuiltIn::Reader(reader) => {
                Arc::clone(reader).bind(config, self.job).map(|reader| self.reader = Some(reader))
            }
            BuiltIn::Processor(processor) => {
                processor.bind(config).map(|factory| self.add_chain(index, 1, factory))
            }
            BuiltIn::Sink(sink) => {
                let bound = Arc::clone(sink).bind(config, self.job);
                bound.map(|sink| self.stages.push(Stage::Sink { operation: index, sink }))
            }
        };
        if let Err(problems) = bound {
            self.refuse(index, problems);
        }
    }

    /// Makes one chain of the operation at `first` and its neighbours of the same asset; returns the place behind it.
    fn chain(&mut self, asset: &Arc<dyn Asset>, first: usize) -> usize {
        let mut steps = Vec::new();
        while let Some(config) = self.job.operations.get(first + steps.len()) {
            let index = first + steps.len();
            match resolve(self.registry, self.job, index, config) {
                Ok(Resolved::Asset(other, info)) if Arc::ptr_eq(asset, other) => {
                    self.introduce(info, index, config);
                    steps.push(config.clone());
                }
                _ => break,
            }
        }
        match asset.chain(&steps) {
            Ok(factory) => self.add_chain(first, steps.len(), factory),
            Err(problems) => {
                for problem in problems {
                    let (step, rest) = step_of(&problem.pointer);
                    let pointer = rest.to_owned();
                    self.refuse(first + step.min(steps.len() - 1), vec![Problem { pointer, ..problem }]);
                }
            }
        }
        first + steps.len()
    }

    fn add_chain(&mut self, first: usize, steps: usize, factory: Arc<dyn ProcessorFactory>) {
        let made = factory.steps();
        if made != steps {
            let message = format!("{made} steps were made of {steps} operations");
            return self.refuse(first, vec![Problem::new("", message)]);
        }
        let chain = Chain { first, factory };
        match self.stages.last_mut() {
            Some(Stage::Chains(chains)) => chains.push(chain),
            _ => self.stages.push(Stage::Chains(vec![chain])),
        }
    }

    /// Takes down what does not depend on how the operation is bound.
    fn introduce(&mut self, info: &OperationInfo, index: usize, config: &OperationConfig) {
        self.infos.push(info.clone());
        if info.schema.get("additionalProperties").is_none_or(|more| *more == Value::Bool(false)) {
            let unknown = info.unknown_settings(&config.settings, "");
            let unknown = unknown.into_iter().map(|problem| self.placed(index, problem));
            self.warnings.extend(unknown.collect::<Vec<_>>());
        }
        let action = config.dead_letter_action.clone().unwrap_or_else(|| info.dead_letter_action.clone());
        let refusal = match action {
            DeadLetterAction::Throw => Refusal::Throw,
            DeadLetterAction::Log => Refusal::Log,
            DeadLetterAction::None => Refusal::Drop,
            DeadLetterAction::Store => Refusal::Store,
            DeadLetterAction::Api(name) => {
                let pointer = format!("/operations/{index}/_dead_letter_action");
                match self.letter_box(&name, pointer) {
                    Ok(place) => Refusal::Letter(place),
                    Err(problems) => {
                        self.problems.extend(problems);
                        Refusal::Throw
                    }
                }
            }
        };
        self.refusals.push(refusal);
    }

    /// Returns the place of the API's sink among the letter boxes; makes it the first time.
    fn letter_box(&mut self, name: &str, pointer: String) -> Result<usize, Vec<Problem>> {
        if let Some(place) = self.letter_boxes.iter().position(|made| made.name == name) {
            return Ok(place);
        }
        let Some(at) = self.job.apis.iter().position(|api| api.name == name) else {
            let known = ACTIONS.into_iter().chain(self.job.apis.iter().map(|api| api.name.as_str()));
            let known: Vec<_> = known.collect();
            return Err(vec![Problem::unknown(pointer, "dead letter action", name, &known)]);
        };
        let api = &self.job.apis[at];
        let Some((sink, info)) = sink_of(self.registry, api.kind()) else {
            let able: Vec<_> = sinks(self.registry).filter_map(|sink| sink.api()).collect();
            let message = format!("api {name:?} cannot take dead letters");
            let hint = format!("kinds of api that can: {}", able.join(", "));
            return Err(vec![Problem::new(pointer, message).with_hint(hint)]);
        };
        let unknown = info.unknown_settings(&api.settings, &format!("/apis/{at}"));
        self.warnings.extend(unknown);
        let config = OperationConfig {
            op: info.name,
            asset: None,
            encoding: api.encoding.unwrap_or_default(),
            dead_letter_action: None,
            api_name: Some(api.name.clone()),
            connection: api.connection.clone(),
            settings: api.settings.clone(),
        };
        let below = |problems: Vec<Problem>| {
            problems.into_iter().map(|problem| problem.below(&format!("/apis/{at}"))).collect::<Vec<_>>()
        };
        let sink = sink.bind(&config, self.job).map_err(below)?;
        self.letter_boxes.push(LetterBox { name: name.to_owned(), sink });
        Ok(self.letter_boxes.len() - 1)
    }

    /// Warns of APIs that nothing here knows and no operation names.
    fn apis(&mut self) {
        let known: Vec<_> = sinks(self.registry).filter_map(|sink| sink.api()).collect();
        for (at, api) in self.job.apis.iter().enumerate() {
            let is_used = self.job.operations.iter().any(|op| op.api_name.as_ref() == Some(&api.name));
            if !is_used && !known.contains(&api.kind()) {
                self.warnings.push(Problem::unknown(format!("/apis/{at}/_name"), "api", api.kind(), &known));
            }
        }
    }

    fn refuse(&mut self, index: usize, problems: Vec<Problem>) {
        let placed: Vec<_> = problems.into_iter().map(|problem| self.placed(index, problem)).collect();
        self.problems.extend(placed);
    }

    /// Turns a pointer relative to an operation into one into the job: a setting that comes from the operation's API is
    /// pointed at there.
    fn placed(&self, index: usize, problem: Problem) -> Problem {
        let key = problem.pointer.split('/').nth(1).unwrap_or_default();
        match self.api_with(index, key) {
            Some(at) => problem.below(&format!("/apis/{at}")),
            None => problem.below(&format!("/operations/{index}")),
        }
    }

    /// Returns the place of the API that the setting comes from; none when the operation has it itself.
    fn api_with(&self, index: usize, key: &str) -> Option<usize> {
        let name = self.job.operations[index].api_name.as_ref()?;
        let at = self.job.apis.iter().position(|api: &ApiConfig| api.name == *name)?;
        let is_in = |settings: &Map<String, Value>| settings.keys().any(|own| escape_pointer(own) == key);
        let written = self.job.document.get("operations").and_then(|all| all.get(index));
        let is_own = written.and_then(Value::as_object).is_some_and(is_in);
        (!is_own && is_in(&self.job.apis[at].settings)).then_some(at)
    }
}

/// Splits `/2/field` into 2 and `/field`.
fn step_of(pointer: &str) -> (usize, &str) {
    let path = pointer.strip_prefix('/').unwrap_or(pointer);
    let (step, rest) = path.find('/').map_or((path, ""), |at| path.split_at(at));
    step.parse().map_or((0, pointer), |step| (step, rest))
}

fn sinks(registry: &Registry) -> impl Iterator<Item = &Arc<dyn AnySink>> {
    registry.built_in.values().filter_map(|operation| match operation {
        BuiltIn::Sink(sink) => Some(sink),
        _ => None,
    })
}

fn sink_of(registry: &Registry, kind: &str) -> Option<(Arc<dyn AnySink>, OperationInfo)> {
    let sink = sinks(registry).find(|sink| sink.api() == Some(kind))?;
    Some((Arc::clone(sink), sink.info()))
}
