-- While two processes serve during an upgrade, one of them creates a meeting.

CREATE TABLE claims (
    tenant        TEXT    NOT NULL,
    sub_id        INTEGER NOT NULL,
    meeting_id    TEXT    NOT NULL, -- as in the create
    instance      TEXT    NOT NULL, -- the process that asks nodes
    number        INTEGER NOT NULL, -- among its claims
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, sub_id, meeting_id)
) STRICT, WITHOUT ROWID;

-- What a process does not know it asks for by any of the names of a meeting.
CREATE INDEX meetings_meeting_id ON meetings (meeting_id);
CREATE INDEX meetings_node_meeting_id ON meetings (node_meeting_id);

-- One webhook of a scope for one URL.
DELETE FROM hooks WHERE EXISTS (SELECT 1 FROM hooks AS first WHERE first.tenant = hooks.tenant
    AND first.sub_id = hooks.sub_id AND first.callback_url = hooks.callback_url AND first.id < hooks.id);
CREATE UNIQUE INDEX hooks_of_url ON hooks (tenant, sub_id, callback_url);
