-- Contents of one part of a look stand beside each other: until a change is in force, the one before it is needed.
ALTER TABLE assets RENAME TO assets_one_each;
CREATE TABLE assets (
    tenant     TEXT    NOT NULL,
    kind       TEXT    NOT NULL, -- logo, slide, css
    path       TEXT    NOT NULL, -- where it was read; its end tells the type
    digest     TEXT    NOT NULL, -- SHA-256 of the bytes, in hex
    bytes      BLOB    NOT NULL,
    kept_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, digest)
) STRICT;
INSERT INTO assets SELECT tenant, kind, path, digest, bytes, 0 FROM assets_one_each;
DROP TABLE assets_one_each;
