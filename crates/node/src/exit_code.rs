//! What the exit codes of every command mean.

/// Everything was done.
pub const DONE: u8 = 0;
/// The execution ended with failed slices, or failed as a whole.
pub const FAILED: u8 = 1;
/// The job or the arguments are wrong.
pub const BAD_JOB: u8 = 64;
/// Something inside went wrong that should not.
pub const INTERNAL: u8 = 70;
/// The state of executions cannot be read or written.
pub const STATE: u8 = 74;
/// Interrupted; `teraslice resume` goes on.
pub const INTERRUPTED: u8 = 75;
/// Another controller has taken the execution over.
pub const FENCED: u8 = 76;
/// The configuration is wrong.
pub const BAD_CONFIG: u8 = 78;

/// Each code and its meaning, for help texts.
pub const ALL: [(u8, &str); 8] = [
    (DONE, "everything was done"),
    (FAILED, "finished with failed slices, or failed"),
    (BAD_JOB, "the job or the arguments are wrong"),
    (INTERNAL, "an internal error"),
    (STATE, "the state directory cannot be used"),
    (INTERRUPTED, "interrupted; `teraslice resume` goes on"),
    (FENCED, "another process has taken the execution over"),
    (BAD_CONFIG, "the configuration is wrong"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_each_code_once_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
