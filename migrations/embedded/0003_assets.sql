-- Copies of the files of tenants' looks, for the start after one has vanished.

CREATE TABLE assets (
    tenant TEXT NOT NULL,
    kind   TEXT NOT NULL, -- logo, slide, css
    path   TEXT NOT NULL, -- where it was read; its end tells the type
    digest TEXT NOT NULL, -- SHA-256 of the bytes, in hex
    bytes  BLOB NOT NULL,
    PRIMARY KEY (tenant, kind)
) STRICT;
