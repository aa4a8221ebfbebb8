-- What has happened, to be played again: which meetings there were, and how many were in them. Names of nobody.
CREATE TABLE chronicle (
    internal_id      TEXT    NOT NULL PRIMARY KEY,
    tenant           TEXT    NOT NULL,
    sub_id           INTEGER NOT NULL,
    meeting_id       TEXT    NOT NULL,
    node             TEXT    NOT NULL,
    created_at_ms    INTEGER NOT NULL,
    max_participants INTEGER NOT NULL, -- 0: not given
    size_hint        INTEGER NOT NULL, -- 0: not given
    peak             INTEGER NOT NULL,
    ended_at_ms      INTEGER,          -- NULL: nobody has seen it
    counts           TEXT    NOT NULL  -- seconds:attendees, each with a blank behind it
) STRICT, WITHOUT ROWID;

CREATE INDEX chronicle_created ON chronicle (created_at_ms, internal_id);

-- Which nodes were there, and for how many attendees.
CREATE TABLE chronicle_nodes (
    node  TEXT    NOT NULL,
    at_ms INTEGER NOT NULL,
    room  REAL,                        -- NULL: it is gone
    PRIMARY KEY (node, at_ms)
) STRICT, WITHOUT ROWID;
