-- What has happened, to be played again: which meetings there were, and how many were in them. Names of nobody.
CREATE TABLE chronicle (
    internal_id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant           TEXT    NOT NULL,
    sub_id           INTEGER NOT NULL,
    meeting_id       TEXT    NOT NULL,
    node             TEXT    NOT NULL,
    created_at_ms    BIGINT  NOT NULL,
    max_participants BIGINT  NOT NULL, -- 0: not given
    size_hint        BIGINT  NOT NULL, -- 0: not given
    peak             BIGINT  NOT NULL,
    ended_at_ms      BIGINT,           -- NULL: nobody has seen it
    counts           TEXT    NOT NULL  -- seconds:attendees, each with a blank behind it
);

CREATE INDEX chronicle_created ON chronicle (created_at_ms, internal_id);

-- Which nodes were there, and for how many attendees.
CREATE TABLE chronicle_nodes (
    node  TEXT COLLATE "C" NOT NULL,
    at_ms BIGINT NOT NULL,
    room  DOUBLE PRECISION,            -- NULL: it is gone
    PRIMARY KEY (node, at_ms)
);
