//! The flights job does what an independent script does, record by record.

use std::{fs, path::PathBuf, process::Command};

use teraslice_tests::{Stage, balanced, root};

/// Rows of the table.
const ROWS: u64 = 336_776;
/// Lines that are no rows, and why.
const BAD: &[u8] = b"2013,1,1\n2013,1,1,\xff,515,2,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,x\n\
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z,more\n";

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("teraslice/demo")
}

#[test]
fn writes_the_records_of_the_reference_script() {
    let example = root().join("examples/flights");
    let table = cache().join("flights.csv");
    let fetched = Command::new(example.join("fetch.sh")).arg(&table).status().unwrap();
    assert!(fetched.success(), "the flights table could not be had");
    let stage = Stage::default();
    let mut rows = fs::read(table).unwrap();
    rows.extend_from_slice(BAD);
    stage.write("flights.csv", rows);
    stage.write("job.yaml", fs::read(example.join("job.yaml")).unwrap());
    let ended = stage.run(&["run", "job.yaml", "-o", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = ended.json();
    let counts = balanced(&run);
    assert_eq!((counts[0]["created"], counts[0]["dead_lettered"]), (ROWS + 3, 3));
    let script = Command::new("python3")
        .arg(example.join("reference.py"))
        .arg(stage.path("flights.csv"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&script.stderr), "3 bad lines\n");
    let mut expected: Vec<_> = String::from_utf8(script.stdout).unwrap().lines().map(str::to_owned).collect();
    expected.sort_unstable();
    assert!(expected.len() > 300_000, "{} records", expected.len());
    let written = stage.lines("flights-out");
    assert_eq!(written.len(), expected.len());
    let differs = written.iter().zip(&expected).find(|(written, expected)| written != expected);
    assert_eq!(differs, None);
}
