-- Of the instances that would create one meeting, the one whose row stands here asks the nodes. The key decides,
-- and the server's clock tells when an instance that has died has lost its right.

CREATE TABLE claims (
    tenant     TEXT   COLLATE "C" NOT NULL,
    sub_id     INTEGER            NOT NULL,
    meeting_id TEXT   COLLATE "C" NOT NULL, -- as in the create
    instance   TEXT   COLLATE "C" NOT NULL,
    number     BIGINT             NOT NULL, -- among its claims
    expires_at TIMESTAMPTZ        NOT NULL,
    PRIMARY KEY (tenant, sub_id, meeting_id)
) WITH (fillfactor = 50);

-- What an instance does not know it asks for by any of the names of a meeting.
CREATE INDEX meetings_meeting_id ON meetings USING hash (meeting_id);
CREATE INDEX meetings_node_meeting_id ON meetings USING hash (node_meeting_id);

-- One webhook of a scope for one URL, whichever instance was asked for it. URLs may be longer than an index takes.
DELETE FROM hooks USING hooks AS first WHERE first.tenant = hooks.tenant AND first.sub_id = hooks.sub_id
    AND first.callback_url = hooks.callback_url AND first.id < hooks.id;
CREATE UNIQUE INDEX hooks_of_url ON hooks (tenant, sub_id, hashtextextended(callback_url, 0));
