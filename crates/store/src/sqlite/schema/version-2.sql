-- A database of schema version 2, with one of everything.

PRAGMA journal_mode = WAL;

CREATE TABLE jobs (
    key INTEGER PRIMARY KEY,
    job_id BLOB NOT NULL UNIQUE,
    record TEXT NOT NULL
);

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

CREATE INDEX pending_slices ON slices (execution, slicer_id, slicer_order) WHERE state = 0;

CREATE INDEX failed_slices ON slices (execution, slicer_id, slicer_order) WHERE state = 2;

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

INSERT INTO jobs VALUES (1, x'c8c8c8c8c8c848c888c8c8c8c8c8c8c8',
    '{"job_id":"c8c8c8c8-c8c8-48c8-88c8-c8c8c8c8c8c8","job":{"name":"law","operations":[{"_op":"test-reader"},{"_op":"noop"}]},"_created":"2020-09-13T12:26:40.000Z","_updated":"2020-09-13T12:26:40.000Z"}');

INSERT INTO executions VALUES (1, x'01010101010141018101010101010101', 'failing', 1, 2, 'why',
    '{"workers_available":0,"workers_active":0,"workers_joined":0,"workers_reconnected":0,"workers_disconnected":0,"job_duration":0,"failed":1,"subslices":0,"queued":0,"slice_range_expansion":0,"processed":2,"slicers":0,"subslice_by_key":0,"operations":[]}',
    1600000005000,
    '{"ex_id":"01010101-0101-4101-8101-010101010101","job_id":"c8c8c8c8-c8c8-48c8-88c8-c8c8c8c8c8c8","_status":"pending","generation":1,"epoch":0,"job":{"name":"law","operations":[{"_op":"test-reader"},{"_op":"noop"}]},"_slicer_stats":{"workers_available":0,"workers_active":0,"workers_joined":0,"workers_reconnected":0,"workers_disconnected":0,"job_duration":0,"failed":0,"subslices":0,"queued":0,"slice_range_expansion":0,"processed":0,"slicers":0,"subslice_by_key":0,"operations":[]},"metadata":{},"_created":"2020-09-13T12:26:40.000Z","_updated":"2020-09-13T12:26:40.000Z"}');

INSERT INTO ledgers VALUES (1, 3, 1, 1,
    '[{"received":0,"emitted":2,"dropped":0,"failed":1,"dead_lettered":0,"created":3,"bytes":99,"micros":5},{"received":0,"emitted":0,"dropped":0,"failed":0,"dead_lettered":0,"created":0,"bytes":0,"micros":0}]');

INSERT INTO checkpoints VALUES (1, 0, 3, '{"at":3}', 0);

INSERT INTO slices VALUES (1, 0, 1, x'cb670944285554929319f4a023290b6c', 1, 1600000000001, '{"start":1,"name":"größer"}', 0, 0, NULL);
INSERT INTO slices VALUES (1, 0, 2, x'02560c0e8bf05f86b70105925a3ab022', 0, 1600000000001, '{"start":2,"name":"größer"}', 0, 0, NULL);
INSERT INTO slices VALUES (1, 0, 3, x'1625dd3eb0e151f68468c3219530cc97', 2, 1600000000001, '{"start":3,"name":"größer"}', 0, 3, 'broken');

INSERT INTO dead_letters VALUES (1, 1, x'cb670944285554929319f4a023290b6c', 1, 'filter', 'refused', '{"a":1}', NULL, 0, NULL);

PRAGMA application_id = 1414745155;
PRAGMA user_version = 2;
