-- Clusters, groups, nodes and tenants as they were last applied, and when which were.
CREATE TABLE inventory_revisions (
    revision      INTEGER PRIMARY KEY AUTOINCREMENT,
    digest        TEXT    NOT NULL, -- of what was applied
    applied_by    TEXT    NOT NULL,
    applied_at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX inventory_revisions_digest ON inventory_revisions (digest, revision);

-- Of the last revision; of earlier ones nothing needs to be there.
CREATE TABLE inventory (
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind     TEXT    NOT NULL, -- cluster, group, node, tenant
    name     TEXT    NOT NULL,
    origin   TEXT    NOT NULL, -- file
    spec     TEXT    NOT NULL, -- JSON; secrets are sealed where there is a key
    PRIMARY KEY (revision, position)
) STRICT, WITHOUT ROWID;
