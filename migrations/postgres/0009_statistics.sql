-- What tenants have used, by hours and days (UTC).
CREATE TABLE statistics (
    per            TEXT COLLATE "C" NOT NULL, -- hour, day
    begins_at_s    BIGINT           NOT NULL,
    tenant         TEXT COLLATE "C" NOT NULL, -- empty: the whole pool
    meetings       BIGINT           NOT NULL, -- begun in it
    attendee_ms    BIGINT           NOT NULL, -- the time of all attendees together
    sampled_ms     BIGINT           NOT NULL, -- of which this is known
    peak_meetings  BIGINT           NOT NULL,
    peak_attendees BIGINT           NOT NULL,
    PRIMARY KEY (per, begins_at_s, tenant)
) WITH (fillfactor = 50);

-- Who comes first counts what runs, until it is time again.
CREATE TABLE statistics_clock (
    sampled_at_ms BIGINT NOT NULL -- 0: never
);

INSERT INTO statistics_clock VALUES (0);

-- How old what waits is.
CREATE INDEX deliveries_oldest ON deliveries (received_at_ms) WHERE state = 'pending';
