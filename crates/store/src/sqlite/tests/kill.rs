//! A process that is killed while it writes leaves whole flushes, and all that were confirmed.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use teraslice_model::dead_letter::{DeadLetter, Encoding};

use super::*;

const DIRECTORY: &str = "TERASLICE_TEST_STATE_DIRECTORY";
const ROUNDS: usize = 12;

/// The child: appends flushes of changing length, each with one dead letter, and prints how far it is confirmed.
#[tokio::test]
#[ignore = "is started, and killed, by the other test"]
async fn appends_until_killed() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let store = SqliteStore::open(Path::new(&directory), options()).unwrap();
    let id = execution(1).ex_id;
    let epoch = store.begin_epoch(id, Generation(1)).await.unwrap();
    let mut last = store.ledger(id).await.unwrap().checkpoints[0].order;
    for turn in 0.. {
        let first = last + 1;
        last += 1 + turn * 37 % 200;
        let mut flush = flush(id, first, last);
        flush.dead_letters.push(DeadLetter {
            slice_id: flush.slices[0].slice.id,
            operation: 0,
            op: "filter".to_owned(),
            reason: last.to_string(),
            record: "x".repeat(500),
            encoding: Encoding::Text,
            metadata: None,
        });
        store.append(id, Writer { epoch, ..FIRST }, flush).await.unwrap();
        writeln!(std::io::stdout(), "confirmed {last}").unwrap();
    }
}

fn start(directory: &TempDir) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "sqlite::tests::kill::appends_until_killed", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads `count` confirmations, kills the child and returns the last confirmation it gave.
fn kill_after(mut child: Child, count: usize) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut confirmed = 0;
    let mut seen = 0;
    let mut read = |lines: &mut dyn Iterator<Item = std::io::Result<String>>| -> bool {
        let Some(Ok(line)) = lines.next() else { return false };
        if let Some((_, number)) = line.split_once("confirmed ") {
            // The kill may cut the last line short: then it says less, never more.
            confirmed = confirmed.max(number.parse().unwrap_or(0));
            seen += 1;
        }
        seen < count
    };
    while read(&mut lines) {}
    child.kill().unwrap();
    while let Some(Ok(line)) = lines.next() {
        let number = line.split_once("confirmed ").and_then(|(_, number)| number.parse().ok());
        confirmed = confirmed.max(number.unwrap_or(0));
    }
    child.wait().unwrap();
    confirmed
}

#[tokio::test]
async fn leaves_whole_flushes_when_killed() {
    let (directory, id) = used().await;
    let mut before = 10;
    for round in 0..ROUNDS {
        let confirmed = kill_after(start(&directory), 1 + round * 7);
        assert!(confirmed > before, "the child has written nothing");
        let reader = SqliteStore::open_read_only(directory.path(), options()).unwrap();
        let seen = reader.ledger(id).await.unwrap();
        drop(reader);
        let store = open(&directory);
        let ledger = store.ledger(id).await.unwrap();
        assert_eq!(seen, ledger, "a reader sees what the killed process has left");
        let order = ledger.checkpoints[0].order;
        assert!(order >= confirmed, "{confirmed} was confirmed, {order} is there");
        let counts = store.slice_counts(id).await.unwrap();
        assert_eq!(counts.pending, order / 2, "the checkpoint and the slices are one write");
        assert_eq!(counts.completed, ledger.totals.completed, "the totals and the slices are one write");
        assert_eq!(
            store.slices(id, SliceState::Completed, ALL).await.unwrap().len() as u64,
            counts.completed
        );
        let letters = store.dead_letters(id, teraslice_core::store::Letters::All, ALL).await.unwrap();
        assert_eq!(letters.last().map(|kept| kept.letter.reason.clone()), Some(order.to_string()));
        before = order;
    }
}
