//! State that blocking work shares with async code, one piece of work at a time.

use std::sync::{Arc, Mutex, PoisonError};

use teraslice_core::context::Context;

/// State that is only touched by one piece of work at a time.
///
/// Work that is under way when its caller goes away runs to its end; what is asked for next waits for it.
#[derive(Debug)]
pub(crate) struct Offload<T> {
    state: Arc<Mutex<T>>,
    context: Context,
}

impl<T: Send + 'static> Offload<T> {
    pub(crate) fn new(state: T, context: Context) -> Self {
        Self { state: Arc::new(Mutex::new(state)), context }
    }

    /// Runs work that blocks or takes long, such as input and output.
    pub(crate) async fn run<R: Send + 'static>(&self, work: impl FnOnce(&mut T) -> R + Send + 'static) -> R {
        let state = Arc::clone(&self.state);
        self.context.compute(move || work(&mut state.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Runs work that is done at once.
    pub(crate) fn now<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
