-- What b3scale's tools have ordered, for whichever instance is asked later what became of it. It is forgotten within
-- minutes.
CREATE TABLE commands (
    number        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            TEXT COLLATE "C" NOT NULL UNIQUE,
    backend       TEXT   NOT NULL, -- b3scale's id of a node
    created_at_ms BIGINT NOT NULL,
    deadline_ms   BIGINT NOT NULL, -- what is not done by then is not done any more
    started_at_ms BIGINT,
    stopped_at_ms BIGINT,
    failure       TEXT             -- why it came to nothing
);
