-- Webhooks of front ends; nodes have only ours.

CREATE TABLE hooks (
    id            INTEGER NOT NULL PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    sub_id        INTEGER NOT NULL,
    token         TEXT    NOT NULL, -- of its row in callbacks, which its deliveries belong to
    callback_url  TEXT    NOT NULL,
    meeting_id    TEXT,             -- as the front end calls it; NULL: of all its meetings
    events        TEXT    NOT NULL, -- comma list; empty: all
    raw           INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
