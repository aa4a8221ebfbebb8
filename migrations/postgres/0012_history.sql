-- How large meetings have become. Names of nobody.
CREATE TABLE history (
    tenant       TEXT COLLATE "C" NOT NULL, -- empty: all meetings
    sub_id       INTEGER NOT NULL, -- -1: all rooms of the tenant
    room         TEXT COLLATE "C" NOT NULL, -- meetingID
    hour         INTEGER NOT NULL, -- of the week, 0 to 167; -1: at any time
    seen         BIGINT NOT NULL, -- meetings
    mean         DOUBLE PRECISION NOT NULL, -- of their peaks, in attendees
    variance     DOUBLE PRECISION NOT NULL,
    learned_at_s BIGINT NOT NULL,
    PRIMARY KEY (tenant, sub_id, room, hour)
);

-- What was learned since, and what goes first.
CREATE INDEX history_age ON history (learned_at_s);
