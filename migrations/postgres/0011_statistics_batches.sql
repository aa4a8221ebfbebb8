-- Which batch of begun meetings came last from each process: one that comes again is not added twice.
CREATE TABLE statistics_batches (
    process TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    number  BIGINT           NOT NULL,
    at_s    BIGINT           NOT NULL -- when it was made
) WITH (fillfactor = 50);
