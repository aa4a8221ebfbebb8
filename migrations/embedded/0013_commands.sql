-- What b3scale's tools have ordered, for whoever is asked later what became of it. It is forgotten within minutes.
CREATE TABLE commands (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT    NOT NULL UNIQUE,
    backend       TEXT    NOT NULL, -- b3scale's id of a node
    created_at_ms INTEGER NOT NULL,
    deadline_ms   INTEGER NOT NULL, -- what is not done by then is not done any more
    started_at_ms INTEGER,
    stopped_at_ms INTEGER,
    failure       TEXT              -- why it came to nothing
) STRICT;
