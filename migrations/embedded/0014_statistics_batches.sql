-- Which batch of begun meetings came last from each process: one that comes again is not added twice.
CREATE TABLE statistics_batches (
    process TEXT    NOT NULL PRIMARY KEY,
    number  INTEGER NOT NULL,
    at_s    INTEGER NOT NULL -- when it was made
) STRICT, WITHOUT ROWID;
