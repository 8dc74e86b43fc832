//! Suites of laws, one per trait; every implementation runs the suite of its trait in its tests.

pub mod backend;
pub mod fake;
pub mod link;
pub mod reader;
pub mod sink;
pub mod store;
