//! Operations that refuse records and slices the way the contract provides for.

use serde::Deserialize;
use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Value, Verdict};

use crate::{NO_SETTINGS, NoSettings, is_set};

/// `test_fail`: refuses records.
#[derive(Debug)]
pub struct Fail(Name);

impl Operation for Fail {
    type Config = NoSettings;

    const INFO: Info = Info::new(
        "test_fail",
        "Refuses a record whose field fail is true, or a text, which is the reason.",
        NO_SETTINGS,
    );

    fn new(_config: NoSettings) -> Result<Self, ConfigError> {
        Ok(Self(Name::new("fail")))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if is_set(record, &self.0) {
            return Err(Error::reject("the record asked for it"));
        }
        match record.get(&self.0).and_then(Value::as_str) {
            Some(reason) => Err(Error::reject(reason.into_owned())),
            None => Ok(Verdict::Keep),
        }
    }
}

/// `test_retry_later`: asks for another try.
#[derive(Debug)]
pub struct RetryLater {
    field: Name,
    times: Option<u32>,
}

/// Settings of `test_retry_later`.
#[derive(Debug, Deserialize)]
pub struct RetryLaterConfig {
    times: Option<u32>,
}

impl Operation for RetryLater {
    type Config = RetryLaterConfig;

    const INFO: Info = Info::new(
        "test_retry_later",
        "Asks for a later try at a record whose field retry is true: always, or so many times in all.",
        r#"{"type":"object","properties":{"times":{"type":"integer","minimum":0}}}"#,
    );

    fn new(config: RetryLaterConfig) -> Result<Self, ConfigError> {
        Ok(Self { field: Name::new("retry"), times: config.times })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if self.times != Some(0) && is_set(record, &self.field) {
            self.times = self.times.map(|times| times - 1);
            return Err(Error::RetryLater("the record asked for another try".to_owned()));
        }
        Ok(Verdict::Keep)
    }
}

/// `test_fatal`: gives up the slice.
#[derive(Debug)]
pub struct Fatal(Name);

impl Operation for Fatal {
    type Config = NoSettings;

    const INFO: Info =
        Info::new("test_fatal", "Gives up the slice at a record whose field fatal is true.", NO_SETTINGS);

    fn new(_config: NoSettings) -> Result<Self, ConfigError> {
        Ok(Self(Name::new("fatal")))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if is_set(record, &self.0) {
            return Err(Error::Fatal("the record asked to give up".to_owned()));
        }
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::Run;

    use super::*;

    #[test]
    fn records_are_refused_with_the_reason_they_give() {
        let run = Run::of::<Fail>("{}", &[r#"{"fail":true}"#, r#"{"fail":"why"}"#, r#"{"fail":false}"#]);
        let messages: Vec<_> = run.failures.iter().map(|failure| failure.message.as_str()).collect();
        assert_eq!((messages, run.records.len()), (vec!["the record asked for it", "why"], 1));
    }

    #[test]
    fn slices_are_refused() {
        let retry = Run::of::<RetryLater>("{}", &[r#"{"retry":true}"#]).problem.unwrap();
        assert!(retry.starts_with("RetryLater"), "{retry}");
        let fatal = Run::of::<Fatal>("{}", &[r#"{"fatal":true}"#]).problem.unwrap();
        assert!(fatal.starts_with("Fatal"), "{fatal}");
    }
}
