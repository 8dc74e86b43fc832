//! One change of a job at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use teraslice_model::id::JobId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// After so many locks, those that nobody holds are forgotten.
const FORGET_EVERY: usize = 64;

/// The locks of jobs that somebody changes.
#[derive(Debug, Default)]
pub(crate) struct JobLocks(Mutex<BTreeMap<JobId, Weak<AsyncMutex<()>>>>);

impl JobLocks {
    /// Waits until nobody else changes the job.
    pub(crate) async fn lock(&self, job_id: JobId) -> OwnedMutexGuard<()> {
        let lock = self.of(job_id);
        lock.lock_owned().await
    }

    fn of(&self, job_id: JobId) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&job_id).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= FORGET_EVERY {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(job_id, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn lets_one_change_a_job_at_a_time() {
        let locks = JobLocks::default();
        let (one, other) = (JobId::from_random([1; 16]), JobId::from_random([2; 16]));
        let held = locks.lock(one).await;
        assert!(locks.lock(one).now_or_never().is_none());
        assert!(locks.lock(other).now_or_never().is_some());
        drop(held);
        assert!(locks.lock(one).now_or_never().is_some());
    }

    #[tokio::test]
    async fn forgets_locks_that_nobody_holds() {
        let locks = JobLocks::default();
        for number in 0..=u8::MAX {
            drop(locks.lock(JobId::from_random([number; 16])).await);
        }
        assert!(locks.0.lock().unwrap().len() <= FORGET_EVERY);
    }
}
