//! A task that ends with its owner.

use std::panic::resume_unwind;

use teraslice_core::{context::Context, operation::OperationError};
use tokio::task::JoinHandle;

/// Work that goes on beside its owner. Dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(crate) fn start(context: &Context, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(context.spawn(work))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the end. Dropping the future loses nothing: the task can be awaited again.
    pub(crate) async fn done(&mut self) -> Result<T, OperationError> {
        match (&mut self.0).await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(OperationError::Interrupted),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
