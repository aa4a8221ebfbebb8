-- Who delivers what is due, so that of two processes only one does: while one holds it, nobody else takes it.
-- It stays due meanwhile, and so keeps its place.
ALTER TABLE deliveries ADD COLUMN holder        INTEGER NOT NULL DEFAULT 0; -- 0: nobody has
ALTER TABLE deliveries ADD COLUMN held_until_ms INTEGER NOT NULL DEFAULT 0;
