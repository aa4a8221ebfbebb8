-- The outbox by tenant and origin: what is due is found, and what waits is counted, without a look at all of it.
-- Triggers keep that up to date, as during an upgrade the process before this one writes into the same file.

ALTER TABLE deliveries ADD COLUMN owner TEXT    NOT NULL DEFAULT ''; -- tenant of its callback
ALTER TABLE deliveries ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;  -- of its payload when it came in

DELETE FROM deliveries WHERE token NOT IN (SELECT token FROM callbacks);
UPDATE deliveries SET bytes = length(payload),
    owner = (SELECT tenant FROM callbacks WHERE callbacks.token = deliveries.token);

CREATE INDEX deliveries_of_line ON deliveries (owner, origin, next_attempt_at_ms, id) WHERE state = 'pending';
CREATE INDEX deliveries_dead ON deliveries (owner, settled_at_ms, id) WHERE state = 'dead';

-- What is to be delivered to one origin for one tenant.
CREATE TABLE outbox_lines (
    tenant             TEXT    NOT NULL,
    origin             TEXT    NOT NULL,
    next_attempt_at_ms INTEGER NOT NULL, -- of the first in it
    PRIMARY KEY (tenant, origin)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_lines_due ON outbox_lines (tenant, next_attempt_at_ms);

CREATE TABLE outbox_tenants (
    tenant             TEXT    NOT NULL PRIMARY KEY,
    pending            INTEGER NOT NULL,
    pending_bytes      INTEGER NOT NULL,
    dead               INTEGER NOT NULL,
    next_attempt_at_ms INTEGER           -- of the first of its lines; NULL: it has none
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_tenants_due ON outbox_tenants (next_attempt_at_ms);

INSERT INTO outbox_lines
    SELECT owner, origin, min(next_attempt_at_ms) FROM deliveries WHERE state = 'pending' GROUP BY owner, origin;
INSERT INTO outbox_tenants
    SELECT owner, sum(state = 'pending'), sum((state = 'pending') * bytes), sum(state = 'dead'),
        (SELECT min(next_attempt_at_ms) FROM outbox_lines WHERE tenant = owner)
    FROM deliveries GROUP BY owner;

-- A delivery without an owner does not count; the process before this one knows of none.
CREATE TRIGGER deliveries_come AFTER INSERT ON deliveries BEGIN
    INSERT OR IGNORE INTO outbox_tenants SELECT NEW.owner, 0, 0, 0, NULL WHERE NEW.owner <> '';
    UPDATE outbox_tenants SET
        pending = pending + (NEW.state = 'pending'),
        pending_bytes = pending_bytes + (NEW.state = 'pending') * NEW.bytes,
        dead = dead + (NEW.state = 'dead')
        WHERE tenant = NEW.owner;
    INSERT OR IGNORE INTO outbox_lines SELECT NEW.owner, NEW.origin, NEW.next_attempt_at_ms
        WHERE NEW.owner <> '' AND NEW.state = 'pending';
    UPDATE outbox_lines SET next_attempt_at_ms = min(next_attempt_at_ms, NEW.next_attempt_at_ms)
        WHERE tenant = NEW.owner AND origin = NEW.origin AND NEW.state = 'pending';
    UPDATE outbox_tenants SET next_attempt_at_ms =
        (SELECT min(next_attempt_at_ms) FROM outbox_lines WHERE tenant = NEW.owner)
        WHERE tenant = NEW.owner AND NEW.state = 'pending';
    UPDATE deliveries SET bytes = length(payload),
        owner = coalesce((SELECT tenant FROM callbacks WHERE token = NEW.token), '')
        WHERE id = NEW.id AND NEW.owner = '';
END;

CREATE TRIGGER deliveries_change AFTER UPDATE OF owner, state, next_attempt_at_ms ON deliveries BEGIN
    INSERT OR IGNORE INTO outbox_tenants SELECT NEW.owner, 0, 0, 0, NULL WHERE NEW.owner <> '';
    UPDATE outbox_tenants SET
        pending = pending - (OLD.state = 'pending'),
        pending_bytes = pending_bytes - (OLD.state = 'pending') * OLD.bytes,
        dead = dead - (OLD.state = 'dead')
        WHERE tenant = OLD.owner;
    UPDATE outbox_tenants SET
        pending = pending + (NEW.state = 'pending'),
        pending_bytes = pending_bytes + (NEW.state = 'pending') * NEW.bytes,
        dead = dead + (NEW.state = 'dead')
        WHERE tenant = NEW.owner;
    DELETE FROM outbox_lines WHERE tenant = NEW.owner AND origin = NEW.origin;
    INSERT INTO outbox_lines SELECT owner, origin, next_attempt_at_ms FROM deliveries
        WHERE owner = NEW.owner AND origin = NEW.origin AND state = 'pending' AND owner <> ''
        ORDER BY next_attempt_at_ms LIMIT 1;
    UPDATE outbox_tenants SET next_attempt_at_ms =
        (SELECT min(next_attempt_at_ms) FROM outbox_lines WHERE tenant = NEW.owner)
        WHERE tenant = NEW.owner;
END;

-- What was delivered is counted nowhere, and goes by the thousands.
CREATE TRIGGER deliveries_go AFTER DELETE ON deliveries WHEN OLD.state <> 'delivered' BEGIN
    UPDATE outbox_tenants SET
        pending = pending - (OLD.state = 'pending'),
        pending_bytes = pending_bytes - (OLD.state = 'pending') * OLD.bytes,
        dead = dead - (OLD.state = 'dead')
        WHERE tenant = OLD.owner;
    DELETE FROM outbox_lines WHERE tenant = OLD.owner AND origin = OLD.origin;
    INSERT INTO outbox_lines SELECT owner, origin, next_attempt_at_ms FROM deliveries
        WHERE owner = OLD.owner AND origin = OLD.origin AND state = 'pending' AND owner <> ''
        ORDER BY next_attempt_at_ms LIMIT 1;
    UPDATE outbox_tenants SET next_attempt_at_ms =
        (SELECT min(next_attempt_at_ms) FROM outbox_lines WHERE tenant = OLD.owner)
        WHERE tenant = OLD.owner;
END;
