//! The statuses of an execution and the moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an execution stands.
///
/// ```text
/// pending -> scheduling -> initializing -> running <-> paused
///                                  |    \-> recovering -> running
///                                  |        running <-> failing
///                                  v
///        completed | failed | stopping -> stopped | terminated | rejected
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, waiting for its turn.
    Pending,
    /// Being placed on the cluster.
    Scheduling,
    /// Placed; its controller is starting.
    Initializing,
    /// Replays slices of an earlier execution.
    Recovering,
    /// Makes and runs slices.
    Running,
    /// Runs on, although slices have failed.
    Failing,
    /// Holds its slices back until it is resumed.
    Paused,
    /// Was told to stop; its processes are leaving.
    Stopping,
    /// Ended: every slice completed.
    Completed,
    /// Ended by a user.
    Stopped,
    /// Never accepted; kept for records of the original.
    Rejected,
    /// Ended with failed slices or an error.
    Failed,
    /// Ended from outside before its work was done.
    Terminated,
}

/// A move that the status table does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an execution cannot go from {from} to {to}")]
pub struct IllegalMove {
    /// The present status.
    pub from: Status,
    /// The refused one.
    pub to: Status,
}

impl Status {
    /// Every status, in the order of an execution's life.
    pub const ALL: [Self; 13] = [
        Self::Pending,
        Self::Scheduling,
        Self::Initializing,
        Self::Recovering,
        Self::Running,
        Self::Failing,
        Self::Paused,
        Self::Stopping,
        Self::Completed,
        Self::Stopped,
        Self::Rejected,
        Self::Failed,
        Self::Terminated,
    ];

    /// Tells whether nothing more can happen.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped | Self::Rejected | Self::Failed | Self::Terminated)
    }

    /// Tells whether a controller is at work.
    #[must_use]
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Recovering | Self::Running | Self::Failing | Self::Paused | Self::Stopping)
    }

    /// Tells whether the controller has not started yet.
    #[must_use]
    pub const fn is_initial(self) -> bool {
        matches!(self, Self::Pending | Self::Scheduling | Self::Initializing)
    }

    /// Checks the move to `to`.
    ///
    /// # Errors
    ///
    /// Back from running to before it, and any way out of a terminal status but `stopped` to `completed`.
    pub fn check_move(self, to: Self) -> Result<(), IllegalMove> {
        let refused = (self.is_running() && to.is_initial())
            || (self.is_terminal() && !(self == Self::Stopped && to == Self::Completed));
        if self != to && refused {
            return Err(IllegalMove { from: self, to });
        }
        Ok(())
    }

    /// Returns the word used in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduling => "scheduling",
            Self::Initializing => "initializing",
            Self::Recovering => "recovering",
            Self::Running => "running",
            Self::Failing => "failing",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Terminated => "terminated",
        }
    }

    /// Reads a word used in records and answers.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staying_is_always_allowed() {
        assert!(Status::ALL.iter().all(|status| status.check_move(*status).is_ok()));
    }

    #[test]
    fn allows_only_the_moves_of_the_table() {
        for from in Status::ALL {
            for to in Status::ALL {
                let wanted = from == to
                    || (from == Status::Stopped && to == Status::Completed)
                    || !(from.is_terminal() || (from.is_running() && to.is_initial()));
                assert_eq!(from.check_move(to).is_ok(), wanted, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn reads_every_word_it_writes() {
        assert!(Status::ALL.iter().all(|s| Status::parse(s.as_str()) == Some(*s)));
        assert_eq!(Status::parse("aborted"), None);
    }

    #[test]
    fn belongs_to_exactly_one_group() {
        for status in Status::ALL {
            let groups = [status.is_initial(), status.is_running(), status.is_terminal()];
            assert_eq!(groups.iter().filter(|is| **is).count(), 1, "{status}");
        }
    }
}
