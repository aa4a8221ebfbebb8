-- Tokens of the operators' API that were seen or revoked. The tokens themselves are nowhere.
CREATE TABLE tokens (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- jti
    scopes        TEXT   NOT NULL, -- separated by spaces
    subject       TEXT   NOT NULL,
    tenant        TEXT,
    issued_at_s   BIGINT,
    expires_at_s  BIGINT,
    seen_at_ms    BIGINT,          -- for the first time
    revoked_at_ms BIGINT
);

-- What operators have changed. No secret stands here.
CREATE TABLE changes (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms  BIGINT NOT NULL,
    who    TEXT   NOT NULL,
    action TEXT   NOT NULL, -- create, update, delete, ...
    object TEXT   NOT NULL, -- kind and name
    before TEXT,            -- JSON
    after  TEXT             -- JSON
);
