-- How large meetings have become. Names of nobody.
CREATE TABLE history (
    tenant       TEXT    NOT NULL, -- empty: all meetings
    sub_id       INTEGER NOT NULL, -- -1: all rooms of the tenant
    room         TEXT    NOT NULL, -- meetingID
    hour         INTEGER NOT NULL, -- of the week, 0 to 167; -1: at any time
    seen         INTEGER NOT NULL, -- meetings
    mean         REAL    NOT NULL, -- of their peaks, in attendees
    variance     REAL    NOT NULL,
    learned_at_s INTEGER NOT NULL,
    PRIMARY KEY (tenant, sub_id, room, hour)
) STRICT, WITHOUT ROWID;

-- What was learned since, and what goes first.
CREATE INDEX history_age ON history (learned_at_s);
