//! What users and the system want of an execution, and when it is still heeded.

use std::time::Duration;

use teraslice_model::status::Status;

use super::{Machine, Phase};
use crate::execution::event::{Command, End};

impl Machine {
    /// Tells whether a command can still be obeyed: who ends is neither held back nor let go on.
    pub(crate) fn heeds(&self, command: Command) -> bool {
        self.is_live() || matches!(command, Command::Stop | Command::Release)
    }

    /// Tells whether slices are held back.
    pub(crate) fn is_paused(&self) -> bool {
        self.phase == Phase::Paused
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused)
    }

    pub(super) fn command(&mut self, now: Duration, command: Command) {
        let is_live = self.is_live();
        match command {
            Command::Pause if self.phase == Phase::Running => self.phase = Phase::Paused,
            Command::Resume if self.phase == Phase::Paused => {
                self.phase = Phase::Running;
                self.alone_since = self.workers.is_empty().then_some(now);
                // Also when nothing is left to do: it must not come back paused if its end cannot be written.
                self.update_status();
            }
            Command::Stop if is_live => self.begin_end(now, End::Terminal(Status::Stopped, None)),
            Command::Release if is_live => self.begin_end(now, End::Released),
            Command::Pause | Command::Resume | Command::Stop | Command::Release => {}
        }
    }
}
