//! The laws of a cluster backend: who keeps them all, and which one each wrong backend breaks.

use futures::{StreamExt as _, stream};
use teraslice_core::conformance::backend::{LAWS, check, run};

use crate::support::{Stage, library, python, wrong_library, wrong_process};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_with_the_library_of_the_example() {
    run(async || Stage::new(library(), serde_json::json!({}))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_with_the_process_in_python() {
    run(async || Stage::new(python(), serde_json::json!({}))).await;
}

/// Without a fault the backends of the next case keep every law but those that need a second handle's memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_without_a_fault() {
    run(async || Stage::wrong(wrong_library(), "none")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finds_each_wrong_backend_by_the_law_that_it_breaks() {
    let cases = [
        ("loses_ensure", "shows_what_was_accepted", "in the first look after"),
        ("lies", "shows_what_was_accepted", "in the first look after"),
        ("duplicates", "ensures_twice_as_once", "the same ones"),
        ("ignores_generation", "replaces_an_earlier_generation", "not reached in time"),
        ("shows_others", "keeps_executions_apart", "is of another execution than asked for"),
        ("says_twice", "shows_what_was_accepted", "is listed twice"),
        ("hangs", "shows_what_was_accepted", "did not answer ensure within 1 s"),
        ("panics", "shows_what_was_accepted", "the backend panicked: as told"),
        ("refuses", "shows_what_was_accepted", "no room for it, ever"),
        ("forgets_the_stubborn", "kills_at_once_when_asked", "they do not leave"),
        ("never_kills", "kills_those_who_are_not", "unconfirmed becomes gone"),
    ];
    let checks = [wrong_library(), wrong_process()].into_iter().flat_map(|transport| {
        cases.into_iter().map(move |(fault, law, words)| {
            let transport = transport.clone();
            async move {
                assert!(LAWS.contains(&law));
                let verdict = check(law, async || Stage::wrong(transport.clone(), fault)).await.unwrap();
                let broken = verdict.broken.unwrap_or_else(|| panic!("{fault} keeps {law}"));
                assert!(broken.contains(words), "{fault} of {transport:?}: {broken}");
            }
        })
    });
    // Most of them wait; all at once they would make each other late.
    stream::iter(checks).buffer_unordered(4).for_each(async |()| ()).await;
}
