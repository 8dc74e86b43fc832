-- A database of schema version 3, with one of everything.

PRAGMA journal_mode = WAL;


CREATE TABLE jobs (
    key INTEGER PRIMARY KEY,
    job_id BLOB NOT NULL UNIQUE,
    record TEXT NOT NULL,
    created INTEGER NOT NULL DEFAULT 0,
    updated INTEGER NOT NULL DEFAULT 0,
    is_deleted INTEGER NOT NULL DEFAULT 0,
    is_active INTEGER NOT NULL DEFAULT 1
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
    record TEXT NOT NULL,
    job_id BLOB NOT NULL DEFAULT x'',
    created INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER,
    workers_wanted INTEGER,
    slicer_hostname TEXT,
    slicer_port INTEGER,
    metadata TEXT NOT NULL DEFAULT '{}'
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
    updated INTEGER,
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

CREATE INDEX jobs_in_order ON jobs (key, is_deleted, is_active);

CREATE INDEX jobs_by_created ON jobs (created, key, is_deleted, is_active);

CREATE INDEX jobs_by_updated ON jobs (updated, key, is_deleted, is_active);

CREATE INDEX executions_in_order ON executions (key, status, deleted);

CREATE INDEX executions_by_status ON executions (status, key, deleted);

CREATE INDEX executions_by_created ON executions (created, key, status, deleted);

CREATE INDEX executions_by_updated ON executions (updated, key, status, deleted);

CREATE INDEX executions_of_job ON executions (job_id, key, status, deleted, created, updated);

CREATE INDEX failed_slices_by_updated ON slices (execution, updated, slicer_id, slicer_order) WHERE state = 2;

INSERT INTO jobs VALUES (1, x'c8c8c8c8c8c848c888c8c8c8c8c8c8c8',
    '{"job_id":"c8c8c8c8-c8c8-48c8-88c8-c8c8c8c8c8c8","job":{"name":"law","operations":[{"_op":"test-reader"},{"_op":"noop"}]},"_created":"2020-09-13T12:26:40.000Z","_updated":"2020-09-13T12:26:40.000Z"}', 1600000000000, 1600000000000, 0, 1);

INSERT INTO executions VALUES (1, x'01010101010141018101010101010101', 'failing', 1, 2, 'why',
    '{"workers_available":0,"workers_active":0,"workers_joined":0,"workers_reconnected":0,"workers_disconnected":0,"job_duration":0,"failed":1,"subslices":0,"queued":0,"slice_range_expansion":0,"processed":2,"slicers":0,"subslice_by_key":0,"operations":[]}',
    1600000005000,
    '{"ex_id":"01010101-0101-4101-8101-010101010101","job_id":"c8c8c8c8-c8c8-48c8-88c8-c8c8c8c8c8c8","_status":"pending","generation":1,"epoch":0,"job":{"name":"law","operations":[{"_op":"test-reader"},{"_op":"noop"}]},"_slicer_stats":{"workers_available":0,"workers_active":0,"workers_joined":0,"workers_reconnected":0,"workers_disconnected":0,"job_duration":0,"failed":0,"subslices":0,"queued":0,"slice_range_expansion":0,"processed":0,"slicers":0,"subslice_by_key":0,"operations":[]},"metadata":{},"_created":"2020-09-13T12:26:40.000Z","_updated":"2020-09-13T12:26:40.000Z"}',
    x'c8c8c8c8c8c848c888c8c8c8c8c8c8c8', 1600000000000, NULL, 7, 'node-1', 45680, '{"note":1}');

INSERT INTO ledgers VALUES (1, 3, 1, 1,
    '[{"received":0,"emitted":2,"dropped":0,"failed":1,"dead_lettered":0,"created":3,"bytes":99,"micros":5},{"received":0,"emitted":0,"dropped":0,"failed":0,"dead_lettered":0,"created":0,"bytes":0,"micros":0}]');

INSERT INTO checkpoints VALUES (1, 0, 3, '{"at":3}', 0);

INSERT INTO slices VALUES (1, 0, 1, x'cb670944285554929319f4a023290b6c', 1, 1600000000001, '{"start":1,"name":"größer"}', 0, 0, NULL, NULL);
INSERT INTO slices VALUES (1, 0, 2, x'02560c0e8bf05f86b70105925a3ab022', 0, 1600000000001, '{"start":2,"name":"größer"}', 0, 0, NULL, NULL);
INSERT INTO slices VALUES (1, 0, 3, x'1625dd3eb0e151f68468c3219530cc97', 2, 1600000000001, '{"start":3,"name":"größer"}', 0, 3, 'broken', 1600000005000);

INSERT INTO dead_letters VALUES (1, 1, x'cb670944285554929319f4a023290b6c', 1, 'filter', 'refused', '{"a":1}', NULL, 0, NULL);

INSERT INTO statistics VALUES (1, 2, 1, 0, 0, 0, 0, 0);

INSERT INTO assets VALUES (1, 'a000000000000000000000000000000000000001', 'standard', '1.2.3', NULL, NULL, NULL,
    '{"id":"a000000000000000000000000000000000000001","name":"standard","version":"1.2.3","sha256":"00","size":7,"_created":"2020-09-13T12:26:40.000Z"}');

INSERT INTO tokens VALUES ('ops', '{"name":"ops","role":"operate","hash":"00","_created":"2020-09-13T12:26:40.000Z"}');

INSERT INTO audit VALUES (1, '{"@timestamp":"2020-09-13T12:26:40.000Z","who":"ops","address":"127.0.0.1","action":"POST /v1/jobs","target":"t","before":null,"after":{}}');

PRAGMA application_id = 1414745155;
PRAGMA user_version = 3;
