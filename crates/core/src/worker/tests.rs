//! The worker, against operations that do as they are told.
