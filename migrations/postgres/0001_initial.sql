-- What must survive, as in migrations/embedded. Columns that front ends and nodes fill are compared
-- byte by byte, whatever the database's locale. In texts `\0` stands for the character NUL, which
-- PostgreSQL cannot keep, and `\\` for a backslash.

CREATE TABLE meetings (
    tenant             TEXT   COLLATE "C" NOT NULL,
    sub_id             INTEGER            NOT NULL,
    meeting_id         TEXT   COLLATE "C" NOT NULL,
    node               TEXT   COLLATE "C" NOT NULL,
    node_meeting_id    TEXT   COLLATE "C" NOT NULL,
    internal_id        TEXT   COLLATE "C" NOT NULL,
    created_at_ms      BIGINT             NOT NULL,
    parent_internal_id TEXT   COLLATE "C",
    xml                BYTEA              NOT NULL, -- the <meeting> element for getMeetings
    PRIMARY KEY (tenant, sub_id, meeting_id)        -- one meeting of a scope, on whatever instance
);

-- Meetings are also asked for by what their node calls them. Hashes, as nodes choose the length.
CREATE INDEX meetings_internal_id ON meetings USING hash (internal_id);

CREATE TABLE nodes (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state TEXT NOT NULL, -- ready, cordoned, draining, retired
    spec  TEXT           -- JSON of the node as last seen in the file: it may go while meetings run on it
);

-- What nodes may call, for as long as they may.
CREATE TABLE callbacks (
    token           TEXT   COLLATE "C" NOT NULL PRIMARY KEY, -- unguessable; stands in the URL that the node calls
    kind            TEXT               NOT NULL, -- end, meeting_ended, recording_ready, analytics, hook
    tenant          TEXT   COLLATE "C" NOT NULL,
    sub_id          INTEGER            NOT NULL,
    meeting_id      TEXT   COLLATE "C" NOT NULL, -- the front end's own
    node            TEXT   COLLATE "C" NOT NULL,
    node_meeting_id TEXT   COLLATE "C" NOT NULL,
    internal_id     TEXT   COLLATE "C",          -- unknown until the node has answered the create
    target          TEXT   COLLATE "C",          -- the front end's URL; none where only we want to know
    created_at_ms   BIGINT             NOT NULL,
    ended_at_ms     BIGINT                       -- when the meeting was known to be over
);

CREATE INDEX callbacks_internal_id ON callbacks USING hash (internal_id);
-- Two instead of one over `ended_at_ms`: nobody takes the half that has not ended for the way to one row in it.
CREATE INDEX callbacks_open ON callbacks (created_at_ms) WHERE ended_at_ms IS NULL;
CREATE INDEX callbacks_ended ON callbacks (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
CREATE INDEX callbacks_of_hooks ON callbacks (token) WHERE kind = 'hook';

-- The outbox: what is to be delivered to front ends.
CREATE TABLE deliveries (
    id                 BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token              TEXT   COLLATE "C" NOT NULL REFERENCES callbacks ON DELETE CASCADE,
    subject_sha256     BYTEA              NOT NULL, -- of the recording, where one callback may tell of several
    owner              TEXT   COLLATE "C" NOT NULL, -- tenant of its callback
    origin_sha256      BYTEA              NOT NULL, -- of scheme, host and port of the target, for fairness
    payload            BYTEA              NOT NULL, -- unsigned; empty once it is delivered
    bytes              BIGINT             NOT NULL, -- of its payload when it came in
    received_at_ms     BIGINT             NOT NULL,
    attempts           INTEGER            NOT NULL,
    next_attempt_at_ms BIGINT             NOT NULL, -- beyond all times: it waits for its turn
    state              TEXT               NOT NULL, -- pending, delivered, dead
    settled_at_ms      BIGINT,
    last_error         TEXT,                        -- without secrets
    UNIQUE (token, subject_sha256)                  -- a node that calls twice makes one delivery
);

CREATE INDEX deliveries_of_line ON deliveries (owner, origin_sha256, next_attempt_at_ms, id) WHERE state = 'pending';
CREATE INDEX deliveries_of_token ON deliveries (token, id) WHERE state = 'pending';
-- What waits for its turn is left out; and so nobody takes this for the way to the first of one line.
CREATE INDEX deliveries_due ON deliveries (next_attempt_at_ms)
    WHERE state = 'pending' AND next_attempt_at_ms < 9223372036854710272;
CREATE INDEX deliveries_dead ON deliveries (owner, settled_at_ms, id) WHERE state = 'dead';
CREATE INDEX deliveries_delivered ON deliveries (token, settled_at_ms) WHERE state = 'delivered';

-- The outbox by tenant and origin: what is due is found, and what waits is counted, without a look at all of it.
-- Triggers keep that up to date. Whoever writes locks the rows of the tenants first, by their names, so that two
-- instances take turns with one tenant and never wait for each other in a circle.

-- What is to be delivered to one origin for one tenant.
CREATE TABLE outbox_lines (
    tenant             TEXT   COLLATE "C" NOT NULL,
    origin_sha256      BYTEA              NOT NULL,
    next_attempt_at_ms BIGINT             NOT NULL, -- of the first in it
    PRIMARY KEY (origin_sha256, tenant)
) WITH (fillfactor = 50);

CREATE INDEX outbox_lines_due ON outbox_lines (tenant, next_attempt_at_ms, origin_sha256);

CREATE TABLE outbox_tenants (
    tenant             TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    pending            BIGINT             NOT NULL DEFAULT 0,
    pending_bytes      BIGINT             NOT NULL DEFAULT 0,
    dead               BIGINT             NOT NULL DEFAULT 0,
    next_attempt_at_ms BIGINT                       -- of the first of its lines; NULL: it has none
) WITH (fillfactor = 50);

CREATE INDEX outbox_tenants_due ON outbox_tenants (next_attempt_at_ms, tenant);

-- Adds to the counts of a tenant, and looks for the first in one of its lines.
CREATE FUNCTION outbox_count(whose TEXT, line BYTEA, more BIGINT, more_bytes BIGINT, more_dead BIGINT)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    soonest BIGINT;
BEGIN
    SELECT next_attempt_at_ms INTO soonest FROM deliveries
        WHERE owner = whose AND origin_sha256 = line AND state = 'pending'
        ORDER BY next_attempt_at_ms LIMIT 1;
    IF soonest IS NULL THEN
        DELETE FROM outbox_lines WHERE tenant = whose AND origin_sha256 = line;
    ELSE
        PERFORM FROM outbox_lines
            WHERE tenant = whose AND origin_sha256 = line AND next_attempt_at_ms = soonest;
        IF NOT FOUND THEN
            INSERT INTO outbox_lines VALUES (whose, line, soonest)
                ON CONFLICT (origin_sha256, tenant) DO UPDATE SET next_attempt_at_ms = soonest;
        END IF;
    END IF;
    SELECT next_attempt_at_ms INTO soonest FROM outbox_lines WHERE tenant = whose
        ORDER BY next_attempt_at_ms LIMIT 1;
    INSERT INTO outbox_tenants AS known VALUES (whose, more, more_bytes, more_dead, soonest)
        ON CONFLICT (tenant) DO UPDATE SET
            pending = known.pending + more,
            pending_bytes = known.pending_bytes + more_bytes,
            dead = known.dead + more_dead,
            next_attempt_at_ms = soonest;
END $$;

-- Once for a statement, however many rows it is about.
CREATE FUNCTION deliveries_come() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox_count(owner, origin_sha256, pending, pending_bytes, dead) FROM (
        SELECT owner, origin_sha256,
            count(*) FILTER (WHERE state = 'pending') AS pending,
            coalesce(sum(bytes) FILTER (WHERE state = 'pending'), 0)::bigint AS pending_bytes,
            count(*) FILTER (WHERE state = 'dead') AS dead
        FROM came GROUP BY owner, origin_sha256 ORDER BY owner, origin_sha256) AS lines;
    RETURN NULL;
END $$;

CREATE FUNCTION deliveries_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox_count(owner, origin_sha256, pending, pending_bytes, dead) FROM (
        SELECT owner, origin_sha256,
            coalesce(sum(one) FILTER (WHERE state = 'pending'), 0)::bigint AS pending,
            coalesce(sum(one * bytes) FILTER (WHERE state = 'pending'), 0)::bigint AS pending_bytes,
            coalesce(sum(one) FILTER (WHERE state = 'dead'), 0)::bigint AS dead
        FROM (SELECT owner, origin_sha256, state, bytes, 1 AS one FROM came
            UNION ALL SELECT owner, origin_sha256, state, bytes, -1 FROM gone) AS changed
        GROUP BY owner, origin_sha256 ORDER BY owner, origin_sha256) AS lines;
    RETURN NULL;
END $$;

CREATE FUNCTION deliveries_go() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox_count(owner, origin_sha256, -pending, -pending_bytes, -dead) FROM (
        SELECT owner, origin_sha256,
            count(*) FILTER (WHERE state = 'pending') AS pending,
            coalesce(sum(bytes) FILTER (WHERE state = 'pending'), 0)::bigint AS pending_bytes,
            count(*) FILTER (WHERE state = 'dead') AS dead
        FROM gone WHERE state <> 'delivered'
        GROUP BY owner, origin_sha256 ORDER BY owner, origin_sha256) AS lines;
    RETURN NULL;
END $$;

CREATE TRIGGER deliveries_come AFTER INSERT ON deliveries REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION deliveries_come();
CREATE TRIGGER deliveries_change AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS gone NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION deliveries_change();
CREATE TRIGGER deliveries_go AFTER DELETE ON deliveries REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION deliveries_go();

-- Copies of the files of tenants' looks, for the start after one has vanished.
CREATE TABLE assets (
    tenant TEXT  COLLATE "C" NOT NULL,
    kind   TEXT              NOT NULL, -- logo, slide, css
    path   TEXT  COLLATE "C" NOT NULL, -- where it was read; its end tells the type
    digest TEXT              NOT NULL, -- SHA-256 of the bytes, in hex
    bytes  BYTEA             NOT NULL,
    PRIMARY KEY (tenant, kind)
);

-- Webhooks of front ends; nodes have only ours.
CREATE TABLE hooks (
    id            BIGINT             NOT NULL PRIMARY KEY,
    tenant        TEXT   COLLATE "C" NOT NULL,
    sub_id        INTEGER            NOT NULL,
    token         TEXT   COLLATE "C" NOT NULL, -- of its row in callbacks, which its deliveries belong to
    callback_url  TEXT   COLLATE "C" NOT NULL,
    meeting_id    TEXT   COLLATE "C",          -- as the front end calls it; NULL: of all its meetings
    events        TEXT   COLLATE "C" NOT NULL, -- comma list; empty: all
    raw           BOOLEAN            NOT NULL,
    created_at_ms BIGINT             NOT NULL
);

CREATE INDEX hooks_token ON hooks (token);
