-- Counts up when operators change the history: whoever shares it then takes all of it up anew.
CREATE TABLE history_generation (
    id     INTEGER NOT NULL PRIMARY KEY, -- always 0
    number INTEGER NOT NULL
) STRICT;
