-- What tenants have used, by hours and days (UTC).
CREATE TABLE statistics (
    per            TEXT    NOT NULL, -- hour, day
    begins_at_s    INTEGER NOT NULL,
    tenant         TEXT    NOT NULL, -- empty: the whole pool
    meetings       INTEGER NOT NULL, -- begun in it
    attendee_ms    INTEGER NOT NULL, -- the time of all attendees together
    sampled_ms     INTEGER NOT NULL, -- of which this is known
    peak_meetings  INTEGER NOT NULL,
    peak_attendees INTEGER NOT NULL,
    PRIMARY KEY (per, begins_at_s, tenant)
) STRICT, WITHOUT ROWID;

-- Who comes first counts what runs, until it is time again.
CREATE TABLE statistics_clock (
    sampled_at_ms INTEGER NOT NULL -- 0: never
) STRICT;

INSERT INTO statistics_clock VALUES (0);

-- How old what waits is.
CREATE INDEX deliveries_oldest ON deliveries (received_at_ms) WHERE state = 'pending';
