//! An operation with state that breaks, at a record or at the end of the slice.

use teraslice_guest_sdk::{ConfigError, Error, Held, Info, Name, Operation, Record, Released, Verdict};

use crate::{NO_SETTINGS, NoSettings, is_set};

/// `test_gather`: holds every record until the end of the slice.
#[derive(Debug)]
pub struct Gather {
    early: Name,
    late: Name,
    is_broken: bool,
}

impl Operation for Gather {
    type Config = NoSettings;

    const INFO: Info = Info::new(
        "test_gather",
        "Holds all records. Traps at one whose field early is true, and at the end after one whose field late is true.",
        NO_SETTINGS,
    )
    .per_slice();

    fn new(_config: NoSettings) -> Result<Self, ConfigError> {
        Ok(Self { early: Name::new("early"), late: Name::new("late"), is_broken: false })
    }

    fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
        assert!(!is_set(record, &self.early), "the record asked for it");
        self.is_broken |= is_set(record, &self.late);
        Ok(Verdict::Hold)
    }

    fn finish(&mut self, held: Vec<Held>) -> Result<Released, Error> {
        assert!(!self.is_broken, "a record asked for it");
        Ok(held.into())
    }
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing::Run;

    use super::*;

    #[test]
    fn records_are_held() {
        assert_eq!(Run::of::<Gather>("{}", &[r#"{"n":1}"#, r#"{"n":2}"#]).records.len(), 2);
    }
}
