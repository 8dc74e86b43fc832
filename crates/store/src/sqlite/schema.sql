-- Ids are 16 bytes, times are milliseconds since 1970, JSON is text. `execution` is always executions.key.

-- The columns repeat what lists ask for of the record.
CREATE TABLE jobs (
    key INTEGER PRIMARY KEY,
    job_id BLOB NOT NULL UNIQUE,
    record TEXT NOT NULL,
    created INTEGER NOT NULL DEFAULT 0,
    updated INTEGER NOT NULL DEFAULT 0,
    is_deleted INTEGER NOT NULL DEFAULT 0,
    is_active INTEGER NOT NULL DEFAULT 1
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
    record TEXT NOT NULL,
    job_id BLOB NOT NULL DEFAULT x'',
    created INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER,
    workers_wanted INTEGER,
    slicer_hostname TEXT,
    slicer_port INTEGER,
    metadata TEXT NOT NULL DEFAULT '{}'
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

-- state: 0 pending, 1 completed, 2 error. updated: when it was given up.
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
    updated INTEGER,
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

-- What each execution adds to the sums over all of them.
CREATE TABLE statistics (
    execution INTEGER PRIMARY KEY REFERENCES executions (key),
    processed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    job_duration INTEGER NOT NULL,
    workers_joined INTEGER NOT NULL,
    workers_disconnected INTEGER NOT NULL,
    workers_reconnected INTEGER NOT NULL
);

CREATE TABLE assets (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    node_version INTEGER,
    platform TEXT,
    arch TEXT,
    record TEXT NOT NULL
);

CREATE INDEX assets_of_version ON assets (name, version);

CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit (
    key INTEGER PRIMARY KEY,
    record TEXT NOT NULL
);

-- Lists take their keys from one of these indices alone, and then read only the rows that they return.
CREATE INDEX jobs_in_order ON jobs (key, is_deleted, is_active);

CREATE INDEX jobs_by_created ON jobs (created, key, is_deleted, is_active);

CREATE INDEX jobs_by_updated ON jobs (updated, key, is_deleted, is_active);

CREATE INDEX executions_in_order ON executions (key, status, deleted);

CREATE INDEX executions_by_status ON executions (status, key, deleted);

CREATE INDEX executions_by_created ON executions (created, key, status, deleted);

CREATE INDEX executions_by_updated ON executions (updated, key, status, deleted);

CREATE INDEX executions_of_job ON executions (job_id, key, status, deleted, created, updated);

CREATE INDEX failed_slices_by_updated ON slices (execution, updated, slicer_id, slicer_order) WHERE state = 2;
