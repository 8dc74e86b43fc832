//! Tests of chains: what goes in comes out, is dropped, or is refused, and is counted.

use serde::Deserialize;

use super::*;
use crate::{
    name::Name,
    operation::{Info, Operation, Released},
    testing::{self, Refused, Run},
};

/// Does with a record what its field `do` says.
struct Obey {
    order: Name,
    mark: Name,
}

#[derive(Deserialize)]
struct Nothing {}

impl Operation for Obey {
    type Config = Nothing;

    const INFO: Info = Info::new("obey", "Obeys the record.", r#"{"properties":{}}"#);

    fn new(_config: Nothing) -> Result<Self, ConfigError> {
        Ok(Self { order: Name::new("do"), mark: Name::new("mark") })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        let order = record.get(&self.order).and_then(|value| value.as_str()).unwrap_or_default().into_owned();
        match order.as_str() {
            "mark" => record.set(&self.mark, b"1"),
            "key" => record.set_metadata(&self.mark, b"2"),
            "drop" => return Ok(Verdict::Drop),
            "hold" => return Ok(Verdict::Hold),
            "refuse" => return Err(Error::reject("as you like")),
            "mark and refuse" => {
                record.set(&self.mark, b"1");
                return Err(Error::reject("é".repeat(400)));
            }
            "later" => return Err(Error::RetryLater("not now".to_owned())),
            _ => {}
        }
        Ok(Verdict::Keep)
    }

    fn finish(&mut self, mut held: Vec<Held>) -> Result<Released, Error> {
        let refused = held.pop().map(|record| (record, "the last one".to_owned()));
        held.insert(0, Held::new(b"{\"made\":true}"));
        held.push(Held::new(b"{\"made\":true}"));
        Ok(Released { records: held, rejected: refused.into_iter().collect() })
    }
}

const OBEY: [Entry; 1] = [Entry::of::<Obey>()];

fn run(steps: usize, records: &[&str]) -> Run {
    let records: Vec<_> = records.iter().map(|record| (*record, "")).collect();
    Run::of_chain(&OBEY, &vec![("obey", "{}"); steps], &records)
}

#[test]
fn line_feeds_stay_where_they_were() {
    let records = ["{\"a\":1}\n", "{\"do\":\"mark\"}", "{\"do\":\"mark\"}\n", "{\"a\":2} \n"];
    let expected =
        ["{\"a\":1}\n", "{\"do\":\"mark\",\"mark\":1}", "{\"do\":\"mark\",\"mark\":1}\n", "{\"a\":2} \n"];
    assert_eq!(run(1, &records).records[..4], expected);
}

#[test]
fn every_record_is_accounted_for() {
    let records =
        [r#"{"do":"drop"}"#, "{}", r#"{"do":"refuse"}"#, r#"{"do":"hold","n":1}"#, r#"{"do":"hold","n":2}"#];
    let run = run(1, &records);
    assert_eq!(run.records, ["{}", "{\"made\":true}\n", r#"{"do":"hold","n":1}"#, "{\"made\":true}\n"]);
    assert_eq!(run.origin, [1]);
    assert_eq!(run.counts, [[5, 4, 1, 2, 2]]);
    let refused = |index, message: &str, data: Option<&str>| Refused {
        index,
        step: 0,
        message: message.to_owned(),
        data: data.map(str::to_owned),
    };
    let last = refused(None, "the last one", Some(r#"{"do":"hold","n":2}"#));
    assert_eq!(run.failures, [refused(Some(2), "as you like", None), last]);
    assert!(run.is_balanced());
}

#[test]
fn a_refused_record_comes_as_the_step_saw_it() {
    let run = run(2, &[r#"{"do":"mark and refuse"}"#]);
    assert_eq!(run.failures[0].data.as_deref(), Some(r#"{"do":"mark and refuse","mark":1}"#));
    assert_eq!((run.failures[0].message.chars().count(), run.failures[0].step), (256, 0));
}

#[test]
fn metadata_may_begin_in_the_middle_of_a_batch() {
    let run = run(1, &["{}", r#"{"do":"key"}"#, "{}"]);
    assert_eq!(run.metadata[..3], ["", r#"{"mark":2}"#, ""]);
    let given = [("{}", r#"{"a":1}"#), (r#"{"do":"drop"}"#, r#"{"a":2}"#), (r#"{"do":"key"}"#, r#"{"a":3}"#)];
    let run = Run::of_chain(&OBEY, &[("obey", "{}")], &given);
    assert_eq!(run.metadata[..2], [r#"{"a":1}"#, r#"{"a":3,"mark":2}"#]);
}

#[test]
fn a_slice_fails_as_a_whole() {
    assert_eq!(run(1, &["{}", r#"{"do":"later"}"#]).problem.unwrap(), "RetryLater(\"not now\")");
}

#[test]
fn a_chain_of_nothing_passes_everything() {
    let run = run(0, &["{}\n", "no json", ""]);
    assert_eq!(
        (run.records, run.counts.len()),
        (vec!["{}\n".to_owned(), "no json".to_owned(), String::new()], 0)
    );
}

#[test]
fn bytes_that_are_no_frame_are_refused() {
    let mut chain = Chain::open(&OBEY, &[("obey", "{}")]).unwrap_or_else(|problem| panic!("{problem:?}"));
    let error = chain.process(b"\xff\xff\xff\xff", None).unwrap_err();
    assert_eq!(error, Problem::Fatal("the batch is no frame".to_owned()));
}

#[test]
fn a_chain_of_unknown_operations_does_not_open() {
    let problem = |steps: &[(&str, &str)]| match Chain::open(&OBEY, steps) {
        Err(Problem::BadConfig { step, error }) => (step, error.message),
        _ => panic!("it opens"),
    };
    assert_eq!(
        problem(&[("obey", "{}"), ("what", "{}")]),
        (1, "_op is \"what\", expected one of obey".to_owned())
    );
    assert!(problem(&[("obey", "[]")]).1.starts_with("the settings are no object"));
    assert_eq!(testing::description_faults(&OBEY), [""; 0]);
}
