-- What must survive: running meetings, and what is known of nodes beyond the file.

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

-- Meetings are also asked for by what their node calls them.
CREATE INDEX meetings_internal_id ON meetings (internal_id);

CREATE TABLE nodes (
    name  TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL, -- ready, cordoned, draining, retired
    spec  TEXT           -- JSON of the node as last seen in the file: it may go while meetings run on it
) STRICT, WITHOUT ROWID;
