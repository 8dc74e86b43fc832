-- Brings a database from version 2 to 3: what lists ask for in columns, assets, tokens, the audit log.

ALTER TABLE jobs ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN updated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN is_deleted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN is_active INTEGER NOT NULL DEFAULT 1;

UPDATE jobs SET
    created = CAST(strftime('%s', json_extract(record, '$._created')) AS INTEGER) * 1000 + CAST(substr(strftime('%f', json_extract(record, '$._created')), 4) AS INTEGER),
    updated = CAST(strftime('%s', json_extract(record, '$._updated')) AS INTEGER) * 1000 + CAST(substr(strftime('%f', json_extract(record, '$._updated')), 4) AS INTEGER),
    is_active = json_type(record, '$.job.active') IS NOT 'false';

ALTER TABLE executions ADD COLUMN job_id BLOB NOT NULL DEFAULT x'';
ALTER TABLE executions ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN deleted INTEGER;
ALTER TABLE executions ADD COLUMN workers_wanted INTEGER;
ALTER TABLE executions ADD COLUMN slicer_hostname TEXT;
ALTER TABLE executions ADD COLUMN slicer_port INTEGER;
ALTER TABLE executions ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';

UPDATE executions SET
    job_id = unhex(json_extract(record, '$.job_id'), '-'),
    created = CAST(strftime('%s', json_extract(record, '$._created')) AS INTEGER) * 1000 + CAST(substr(strftime('%f', json_extract(record, '$._created')), 4) AS INTEGER),
    metadata = coalesce(json_extract(record, '$.metadata'), '{}');

ALTER TABLE slices ADD COLUMN updated INTEGER;

-- When a slice was given up was not kept: its execution's last change comes nearest.
UPDATE slices SET updated = (SELECT updated FROM executions WHERE key = execution) WHERE state = 2;

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

INSERT INTO statistics SELECT
    key,
    CAST(coalesce(json_extract(stats, '$.processed'), 0) AS INTEGER),
    CAST(coalesce(json_extract(stats, '$.failed'), 0) AS INTEGER),
    CAST(coalesce(json_extract(stats, '$.queued'), 0) AS INTEGER),
    CAST(coalesce(json_extract(stats, '$.job_duration'), 0) AS INTEGER),
    CAST(coalesce(json_extract(stats, '$.workers_joined'), 0) AS INTEGER),
    CAST(coalesce(json_extract(stats, '$.workers_disconnected'), 0) AS INTEGER),
    CAST(coalesce(json_extract(stats, '$.workers_reconnected'), 0) AS INTEGER)
FROM executions;

CREATE INDEX jobs_in_order ON jobs (key, is_deleted, is_active);

CREATE INDEX jobs_by_created ON jobs (created, key, is_deleted, is_active);

CREATE INDEX jobs_by_updated ON jobs (updated, key, is_deleted, is_active);

CREATE INDEX executions_in_order ON executions (key, status, deleted);

CREATE INDEX executions_by_status ON executions (status, key, deleted);

CREATE INDEX executions_by_created ON executions (created, key, status, deleted);

CREATE INDEX executions_by_updated ON executions (updated, key, status, deleted);

CREATE INDEX executions_of_job ON executions (job_id, key, status, deleted, created, updated);

CREATE INDEX failed_slices_by_updated ON slices (execution, updated, slicer_id, slicer_order) WHERE state = 2;
