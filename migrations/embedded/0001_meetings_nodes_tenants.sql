-- What must survive: running meetings, and what operators and the inventory file have said of
-- nodes and tenants beyond the file itself.

CREATE TABLE meetings (
    tenant             TEXT    NOT NULL,
    sub_id             INTEGER NOT NULL,
    meeting_id         TEXT    NOT NULL,
    node               TEXT    NOT NULL,
    node_meeting_id    TEXT    NOT NULL,
    internal_id        TEXT    NOT NULL,
    created_at_ms      INTEGER NOT NULL,
    parent_internal_id TEXT,
    xml                BLOB    NOT NULL, -- the <meeting> element for getMeetings
    PRIMARY KEY (tenant, sub_id, meeting_id)
) STRICT;

CREATE TABLE nodes (
    name    TEXT NOT NULL PRIMARY KEY,
    state   TEXT NOT NULL, -- ready, cordoned, draining, retired
    retired TEXT           -- JSON of a node that is gone from the file and still runs meetings
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    slug    TEXT NOT NULL PRIMARY KEY,
    retired TEXT NOT NULL  -- JSON of a tenant that is gone from the file and still has meetings
) STRICT, WITHOUT ROWID;
