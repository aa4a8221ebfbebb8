-- Tokens of the operators' API that were seen or revoked. The tokens themselves are nowhere.
CREATE TABLE tokens (
    id            TEXT    NOT NULL PRIMARY KEY, -- jti
    scopes        TEXT    NOT NULL, -- separated by spaces
    subject       TEXT    NOT NULL,
    tenant        TEXT,
    issued_at_s   INTEGER,
    expires_at_s  INTEGER,
    seen_at_ms    INTEGER,          -- for the first time
    revoked_at_ms INTEGER
) STRICT, WITHOUT ROWID;

-- What operators have changed. No secret stands here.
CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms  INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    action TEXT    NOT NULL, -- create, update, delete, ...
    object TEXT    NOT NULL, -- kind and name
    before TEXT,             -- JSON
    after  TEXT              -- JSON
) STRICT;
