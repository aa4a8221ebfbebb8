-- Who delivers what is due, so that of several instances only one does: while one holds it, nobody else takes
-- it. It stays due meanwhile, and so keeps its place among all of them.
ALTER TABLE deliveries
    ADD COLUMN holder        BIGINT NOT NULL DEFAULT 0, -- 0: nobody has
    ADD COLUMN held_until_ms BIGINT NOT NULL DEFAULT 0; -- by the server's clock

-- Whoever takes a delivery changes nothing that is counted. It must not touch the rows of the tenants either:
-- who locks deliveries first and tenants after could wait in a circle with who does it as all others do.
CREATE OR REPLACE FUNCTION deliveries_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox_count(owner, origin_sha256, pending, pending_bytes, dead) FROM (
        SELECT owner, origin_sha256,
            coalesce(sum(one) FILTER (WHERE state = 'pending'), 0)::bigint AS pending,
            coalesce(sum(one * bytes) FILTER (WHERE state = 'pending'), 0)::bigint AS pending_bytes,
            coalesce(sum(one) FILTER (WHERE state = 'dead'), 0)::bigint AS dead
        FROM (SELECT more.*, 1 AS one FROM
                (SELECT id, owner, origin_sha256, state, bytes, next_attempt_at_ms FROM came
                    EXCEPT SELECT id, owner, origin_sha256, state, bytes, next_attempt_at_ms FROM gone) AS more
            UNION ALL SELECT less.*, -1 FROM
                (SELECT id, owner, origin_sha256, state, bytes, next_attempt_at_ms FROM gone
                    EXCEPT SELECT id, owner, origin_sha256, state, bytes, next_attempt_at_ms FROM came) AS less)
            AS changed
        GROUP BY owner, origin_sha256 ORDER BY owner, origin_sha256) AS lines;
    RETURN NULL;
END $$;
