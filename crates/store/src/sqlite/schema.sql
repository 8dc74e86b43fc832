-- Ids are 16 bytes, times are milliseconds since 1970, JSON is text. `execution` is always executions.key.

CREATE TABLE jobs (
    key INTEGER PRIMARY KEY,
    job_id BLOB NOT NULL UNIQUE,
    record TEXT NOT NULL
);

-- The record is the execution as it was created; the columns hold what changes afterwards and override it.
CREATE TABLE executions (
    key INTEGER PRIMARY KEY,
    ex_id BLOB NOT NULL UNIQUE,
    status TEXT NOT NULL,
    generation INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    failure TEXT,
    stats TEXT NOT NULL,
    updated INTEGER NOT NULL,
    record TEXT NOT NULL
);

-- Totals; apart from the executions because every flush writes them. `slices` counts the rows in slices.
CREATE TABLE ledgers (
    execution INTEGER PRIMARY KEY REFERENCES executions (key),
    slices INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    operations TEXT NOT NULL
);

CREATE TABLE checkpoints (
    execution INTEGER NOT NULL,
    slicer_id INTEGER NOT NULL,
    slicer_order INTEGER NOT NULL,
    position TEXT,
    is_exhausted INTEGER NOT NULL,
    PRIMARY KEY (execution, slicer_id)
) WITHOUT ROWID;

-- state: 0 pending, 1 completed, 2 error.
CREATE TABLE slices (
    execution INTEGER NOT NULL,
    slicer_id INTEGER NOT NULL,
    slicer_order INTEGER NOT NULL,
    slice_id BLOB NOT NULL,
    state INTEGER NOT NULL,
    created INTEGER NOT NULL,
    request TEXT NOT NULL,
    retry_count INTEGER NOT NULL,
    deaths INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (execution, slicer_id, slicer_order)
) WITHOUT ROWID;

-- Most slices are completed when they are first written and never enter these indices.
CREATE INDEX pending_slices ON slices (execution, slicer_id, slicer_order) WHERE state = 0;

CREATE INDEX failed_slices ON slices (execution, slicer_id, slicer_order) WHERE state = 2;

-- encoding: 0 the record is text, 1 it is base64. replayed_in: the id of the execution that replays it.
CREATE TABLE dead_letters (
    key INTEGER PRIMARY KEY,
    execution INTEGER NOT NULL,
    slice_id BLOB NOT NULL,
    operation INTEGER NOT NULL,
    op TEXT NOT NULL,
    reason TEXT NOT NULL,
    record TEXT NOT NULL,
    metadata TEXT,
    encoding INTEGER NOT NULL DEFAULT 0,
    replayed_in BLOB
);

CREATE INDEX dead_letters_of_execution ON dead_letters (execution);

CREATE INDEX dead_letters_of_slice ON dead_letters (slice_id);
