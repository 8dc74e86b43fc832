//! The flights job does what an independent script does, record by record.

use std::fs;

use teraslice_tests::{
    Stage, balanced,
    flights::{ROWS, check, expected, table},
    root,
};

/// Lines that are no rows, and why.
const BAD: &[u8] = b"2013,1,1\n2013,1,1,\xff,515,2,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,x\n\
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z,more\n";

#[test]
fn writes_the_records_of_the_reference_script() {
    let stage = Stage::default();
    let mut rows = fs::read(table()).unwrap();
    rows.extend_from_slice(BAD);
    stage.write("flights.csv", rows);
    stage.write("job.yaml", fs::read(root().join("examples/flights/job.yaml")).unwrap());
    let ended = stage.run(&["run", "job.yaml", "-o", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = ended.json();
    let counts = balanced(&run);
    assert_eq!((counts[0]["created"], counts[0]["dead_lettered"]), (ROWS + 3, 3));
    let (lines, said) = expected(&stage.path("flights.csv"));
    assert_eq!(said, "3 bad lines\n");
    check(&stage.lines("flights-out"), &lines);
}
