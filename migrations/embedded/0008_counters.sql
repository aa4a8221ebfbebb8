-- What operators and tenants watch grow, over all restarts: each process adds what it has counted.
CREATE TABLE counters (
    tenant TEXT    NOT NULL,
    sub_id INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (tenant, sub_id, name)
) STRICT, WITHOUT ROWID;
