//! A process for the tests to start and to kill.

fn main() {}
