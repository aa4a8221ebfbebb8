-- What nodes may call, for as long as they may, and what is to be delivered to front ends.

CREATE TABLE callbacks (
    token           TEXT    NOT NULL PRIMARY KEY, -- unguessable; stands in the URL that the node calls
    kind            TEXT    NOT NULL, -- end, meeting_ended, recording_ready, analytics
    tenant          TEXT    NOT NULL,
    sub_id          INTEGER NOT NULL,
    meeting_id      TEXT    NOT NULL, -- the front end's own
    node            TEXT    NOT NULL,
    node_meeting_id TEXT    NOT NULL,
    internal_id     TEXT,             -- unknown until the node has answered the create
    target          TEXT,             -- the front end's URL; none where only we want to know
    created_at_ms   INTEGER NOT NULL,
    ended_at_ms     INTEGER           -- when the meeting was known to be over
) STRICT, WITHOUT ROWID;

CREATE INDEX callbacks_internal_id ON callbacks (internal_id);
CREATE INDEX callbacks_ended_at ON callbacks (ended_at_ms);

CREATE TABLE deliveries (
    id                 INTEGER NOT NULL PRIMARY KEY,
    token              TEXT    NOT NULL,
    subject            TEXT    NOT NULL, -- the recording, where one callback may tell of several
    origin             TEXT    NOT NULL, -- scheme, host and port of the target, for fairness
    payload            BLOB    NOT NULL, -- unsigned; empty once it is delivered
    received_at_ms     INTEGER NOT NULL,
    attempts           INTEGER NOT NULL,
    next_attempt_at_ms INTEGER NOT NULL,
    state              TEXT    NOT NULL, -- pending, delivered, dead
    settled_at_ms      INTEGER,
    last_error         TEXT,             -- without secrets
    UNIQUE (token, subject)              -- a node that calls twice makes one delivery
) STRICT;

CREATE INDEX deliveries_due ON deliveries (state, next_attempt_at_ms);
