//! Operations that use what the host offers: the clock, the seed, the log, counters.

use serde::Deserialize;
use teraslice_guest_sdk::{
    ConfigError, Error, Info, Name, Operation, Record, Verdict,
    host::{self, Level},
};

use crate::{NO_SETTINGS, NoSettings};

/// `test_clock`: writes the slice's time and seed into the record.
#[derive(Debug)]
pub struct Clock {
    now: Name,
    seed: Name,
}

impl Operation for Clock {
    type Config = NoSettings;

    const INFO: Info = Info::new(
        "test_clock",
        "Writes the time and the seed of the slice to the fields now and seed.",
        NO_SETTINGS,
    );

    fn new(_config: NoSettings) -> Result<Self, ConfigError> {
        Ok(Self { now: Name::new("now"), seed: Name::new("seed") })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        record.set(&self.now, host::now_ms().to_string().as_bytes());
        record.set(&self.seed, host::seed().to_string().as_bytes());
        Ok(Verdict::Keep)
    }
}

/// `test_log`: logs and counts.
#[derive(Debug)]
pub struct Log {
    message: String,
    lines: u32,
}

/// Settings of `test_log`.
#[derive(Debug, Deserialize)]
pub struct LogConfig {
    #[serde(default = "seen")]
    message: String,
    #[serde(default = "one")]
    lines: u32,
}

fn seen() -> String {
    "seen".to_owned()
}

const fn one() -> u32 {
    1
}

impl Operation for Log {
    type Config = LogConfig;

    const INFO: Info = Info::new(
        "test_log",
        "Logs a message once or often for each record, and counts records as seen.",
        r#"{"type":"object","properties":{"message":{"type":"string","default":"seen"},"lines":{"type":"integer","minimum":0,"default":1}}}"#,
    );

    fn new(config: LogConfig) -> Result<Self, ConfigError> {
        Ok(Self { message: config.message, lines: config.lines })
    }

    fn process(&mut self, _record: &mut Record<'_>) -> Result<Verdict, Error> {
        for _ in 0..self.lines {
            host::log(Level::Info, &self.message);
        }
        host::count("seen", 1);
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::{NOW_MS, Run, SEED};

    use super::*;

    #[test]
    fn the_clock_and_the_seed_are_those_of_the_slice() {
        let run = Run::of::<Clock>("{}", &["{}"]);
        assert_eq!(run.records, [format!(r#"{{"now":{NOW_MS},"seed":{SEED}}}"#)]);
    }

    #[test]
    fn records_are_logged_and_counted() {
        let run = Run::of::<Log>(r#"{"message":"here","lines":2}"#, &["{}"]);
        assert_eq!(run.log, [(Level::Info, "here".to_owned()), (Level::Info, "here".to_owned())]);
        assert_eq!(run.counters, [("seen".to_owned(), 1)]);
    }
}
