//! What the exit codes of every command mean.

/// Everything was done.
pub const DONE: u8 = 0;
/// The execution ended with failed slices, or failed as a whole.
pub const FAILED: u8 = 1;
/// The job or the arguments are wrong.
pub const BAD_JOB: u8 = 64;
/// The cluster has refused what it was asked for.
pub const REFUSED: u8 = 65;
/// The cluster cannot be reached, or cannot answer.
pub const UNAVAILABLE: u8 = 69;
/// Something inside went wrong that should not.
pub const INTERNAL: u8 = 70;
/// The state of executions cannot be read or written.
pub const STATE: u8 = 74;
/// Interrupted; `teraslice resume` goes on.
pub const INTERRUPTED: u8 = 75;
/// Another controller has taken the execution over.
pub const FENCED: u8 = 76;
/// The cluster does not allow it: no token, or one without the right.
pub const DENIED: u8 = 77;
/// The configuration is wrong.
pub const BAD_CONFIG: u8 = 78;
/// What was waited for has not happened in time.
pub const TIMEOUT: u8 = 124;

/// Each code and its meaning, for help texts.
pub const ALL: [(u8, &str); 12] = [
    (DONE, "everything was done"),
    (FAILED, "finished with failed slices, or failed"),
    (BAD_JOB, "the job or the arguments are wrong"),
    (REFUSED, "the cluster has refused"),
    (UNAVAILABLE, "the cluster cannot be reached, or cannot answer"),
    (INTERNAL, "an internal error"),
    (STATE, "the state directory cannot be used"),
    (INTERRUPTED, "interrupted; `teraslice resume` goes on"),
    (FENCED, "another process has taken the execution over"),
    (DENIED, "the cluster does not allow it: no token, or one without the right"),
    (BAD_CONFIG, "the configuration is wrong"),
    (TIMEOUT, "what was waited for has not happened in time"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_each_code_once_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
