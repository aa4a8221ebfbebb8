-- Contents of one part of a look stand beside each other: until a change is in force, the one before it is needed.
ALTER TABLE assets
    DROP CONSTRAINT assets_pkey,
    ADD PRIMARY KEY (tenant, kind, digest),
    ADD COLUMN kept_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp();
