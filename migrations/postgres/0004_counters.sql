-- What operators and tenants watch grow, over all instances and restarts: each adds what it has counted.
CREATE TABLE counters (
    tenant TEXT    COLLATE "C" NOT NULL,
    sub_id INTEGER             NOT NULL,
    name   TEXT    COLLATE "C" NOT NULL,
    value  BIGINT              NOT NULL,
    PRIMARY KEY (tenant, sub_id, name)
) WITH (fillfactor = 50);
