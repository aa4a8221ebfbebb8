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
