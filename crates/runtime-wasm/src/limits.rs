//! What a guest may use, and the account that is kept of it.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::engine::{INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};

/// What one instance may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, all memories together (default 64 MiB).
    pub memory: usize,
    /// Elements of all tables together (default 100,000).
    pub table_elements: usize,
    /// Time of a `process` call, without input (default 1 s).
    pub process_base: Duration,
    /// Time more per KiB of input (default 1 ms).
    pub process_per_kib: Duration,
    /// Time of a `process` call at the most (default 30 s).
    pub process_max: Duration,
    /// Time of the start functions, of `open` and of `finish`, each (default 5 s).
    pub other_calls: Duration,
    /// Bytes that a call may return at the most (default 64 MiB); at least 1 MiB and 8 times its input are allowed below that.
    pub output_max: usize,
    /// Bytes of log per slice (default 64 KiB).
    pub log_bytes: usize,
    /// Bytes of one line of log (default 1 KiB).
    pub log_line_bytes: usize,
    /// Records of a slice that a chain may break on; with more the slice fails (default 100).
    pub faults_max: usize,
    /// Bytes of a slice, input and output together, that are held so that a chain with state can run it again (default 64 MiB).
    pub replay_bytes: usize,
    /// How long a call may be put off by a guest that asks for a later try (default 10 s); then the attempt fails.
    pub later_max: Duration,
    /// How long to wait for a free instance (default 60 s).
    pub slot_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            table_elements: 100_000,
            process_base: Duration::from_secs(1),
            process_per_kib: Duration::from_millis(1),
            process_max: Duration::from_secs(30),
            other_calls: Duration::from_secs(5),
            output_max: 64 << 20,
            log_bytes: 64 << 10,
            log_line_bytes: 1 << 10,
            faults_max: 100,
            replay_bytes: 64 << 20,
            later_max: Duration::from_secs(10),
            slot_wait: Duration::from_mins(1),
        }
    }
}

impl Limits {
    /// Returns the time that `process` may take for so many bytes.
    #[must_use]
    pub fn process_time(&self, bytes: usize) -> Duration {
        let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        (self.process_base + self.process_per_kib.saturating_mul(kib)).min(self.process_max)
    }

    /// Returns how many bytes a call with so much input may return.
    pub(crate) fn output_bytes(&self, input: usize) -> usize {
        input.saturating_mul(8).saturating_add(1 << 20).min(self.output_max)
    }
}

/// Sums up what an instance takes, and remembers what it was denied: afterwards the guest only says `unreachable`.
#[derive(Debug)]
pub(crate) struct Account {
    memory_max: usize,
    memory: usize,
    table_elements_max: usize,
    table_elements: usize,
    pub(crate) denied: Option<Denied>,
}

/// What an instance was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Memory,
    Table,
}

impl Account {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            memory_max: limits.memory,
            memory: 0,
            table_elements_max: limits.table_elements,
            table_elements: 0,
            denied: None,
        }
    }

    /// Tells whether more than three quarters of the memory are taken.
    pub(crate) const fn is_nearly_full(&self) -> bool {
        self.memory > self.memory_max / 4 * 3
    }
}

impl ResourceLimiter for Account {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_max {
            self.denied = Some(Denied::Memory);
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.table_elements_max {
            self.denied = Some(Denied::Table);
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_memories_of_an_instance() {
        let limits = Limits { memory: 100, ..Limits::default() };
        let mut account = Account::new(&limits);
        assert!(account.memory_growing(0, 60, None).unwrap());
        assert!(!account.memory_growing(0, 60, None).unwrap());
        assert_eq!(account.denied, Some(Denied::Memory));
        assert!(account.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn gives_large_batches_more_time_up_to_the_cap() {
        let limits = Limits::default();
        assert_eq!(limits.process_time(0), Duration::from_secs(1));
        assert_eq!(limits.process_time(256 << 10), Duration::from_millis(1_256));
        assert_eq!(limits.process_time(1 << 30), Duration::from_secs(30));
    }

    #[test]
    fn bounds_the_output_by_the_input() {
        let limits = Limits::default();
        assert_eq!(limits.output_bytes(0), 1 << 20);
        assert_eq!(limits.output_bytes(1 << 30), 64 << 20);
    }
}
