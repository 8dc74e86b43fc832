//! A place for each live instance: who finds none waits.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Counts the free places. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A taken place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    inner: Arc<Inner>,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self { inner: Arc::new(Inner { free: Mutex::new(count), freed: Condvar::new() }) }
    }

    /// Takes a place; waits for one on this thread, but no longer than `limit`.
    pub(crate) fn take(&self, limit: Duration) -> Option<Slot> {
        let free = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.inner.freed.wait_timeout_while(free, limit, |free| *free == 0);
        let (mut free, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        drop(free);
        Some(Slot { inner: Arc::clone(&self.inner) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.inner.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_place_until_one_is_given_back() {
        let slots = Slots::new(1);
        let taken = slots.take(Duration::ZERO).unwrap();
        assert!(slots.take(Duration::from_millis(1)).is_none());
        let waiting = std::thread::spawn({
            let slots = slots.clone();
            move || slots.take(Duration::from_secs(60)).is_some()
        });
        drop(taken);
        assert!(waiting.join().unwrap());
    }
}
