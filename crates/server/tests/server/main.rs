//! The API as its clients meet it: requests in, answers out, over a small cluster of doubles.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod access;
mod assets;
mod controllers;
mod documented;
mod executions;
mod golden;
mod insight;
mod jobs;
mod lists;
mod manners;
mod support;
