//! Operations that break what the host holds them to: traps, endless loops, too much memory, too much output.

use std::hint::black_box;

use serde::Deserialize;
use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Verdict};

use crate::{NO_SETTINGS, NoSettings, is_set};

/// `test_trap`: panics.
#[derive(Debug)]
pub struct Trap(Name);

impl Operation for Trap {
    type Config = NoSettings;

    const INFO: Info = Info::new("test_trap", "Traps at a record whose field trap is true.", NO_SETTINGS);

    fn new(_config: NoSettings) -> Result<Self, ConfigError> {
        Ok(Self(Name::new("trap")))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        assert!(!is_set(record, &self.0), "the record asked for it");
        Ok(Verdict::Keep)
    }
}

/// `test_spin`: never ends.
#[derive(Debug)]
pub struct Spin(Name);

impl Operation for Spin {
    type Config = NoSettings;

    const INFO: Info =
        Info::new("test_spin", "Loops for ever at a record whose field spin is true.", NO_SETTINGS);

    fn new(_config: NoSettings) -> Result<Self, ConfigError> {
        Ok(Self(Name::new("spin")))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        while black_box(is_set(record, &self.0)) {}
        Ok(Verdict::Keep)
    }
}

/// `test_recurse`: exhausts the stack.
#[derive(Debug)]
pub struct Recurse(Name);

impl Operation for Recurse {
    type Config = NoSettings;

    const INFO: Info =
        Info::new("test_recurse", "Recurses for ever at a record whose field recurse is true.", NO_SETTINGS);

    fn new(_config: NoSettings) -> Result<Self, ConfigError> {
        Ok(Self(Name::new("recurse")))
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if is_set(record, &self.0) {
            let _depth = black_box(descend(black_box(1)));
        }
        Ok(Verdict::Keep)
    }
}

#[expect(unconditional_recursion, reason = "its purpose")]
#[inline(never)]
fn descend(depth: u64) -> u64 {
    black_box(descend(black_box(depth + 1))) + depth
}

/// `test_grow`: allocates.
#[derive(Debug)]
pub struct Grow {
    bytes: usize,
    field: Name,
    held: Vec<Vec<u8>>,
}

/// Settings of `test_grow`.
#[derive(Debug, Deserialize)]
pub struct GrowConfig {
    mebibytes: u32,
}

impl Operation for Grow {
    type Config = GrowConfig;

    const INFO: Info = Info::new(
        "test_grow",
        "Allocates some mebibytes, and keeps them, at a record whose field grow is true.",
        r#"{"type":"object","properties":{"mebibytes":{"type":"integer","minimum":0}},"required":["mebibytes"]}"#,
    );

    fn new(config: GrowConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            bytes: config.mebibytes as usize * 1024 * 1024,
            field: Name::new("grow"),
            held: Vec::new(),
        })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if is_set(record, &self.field) {
            self.held.push(black_box(vec![1; self.bytes]));
        }
        Ok(Verdict::Keep)
    }
}

/// `test_output_bomb`: gives back far more than it got.
#[derive(Debug)]
pub struct OutputBomb {
    bytes: usize,
    bomb: Name,
    field: Name,
}

/// Settings of `test_output_bomb`.
#[derive(Debug, Deserialize)]
pub struct OutputBombConfig {
    #[serde(default = "eight")]
    mebibytes: u32,
}

const fn eight() -> u32 {
    8
}

impl Operation for OutputBomb {
    type Config = OutputBombConfig;

    const INFO: Info = Info::new(
        "test_output_bomb",
        "Makes a record large whose field bomb is true.",
        r#"{"type":"object","properties":{"mebibytes":{"type":"integer","minimum":0,"default":8}}}"#,
    );

    fn new(config: OutputBombConfig) -> Result<Self, ConfigError> {
        let bytes = config.mebibytes as usize * 1024 * 1024;
        Ok(Self { bytes, bomb: Name::new("bomb"), field: Name::new("padding") })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        if is_set(record, &self.bomb) {
            let mut json = vec![b'x'; self.bytes + 2];
            json[0] = b'"';
            json[self.bytes + 1] = b'"';
            record.set(&self.field, &json);
        }
        Ok(Verdict::Keep)
    }
}
