-- Two changes at the same moment must not both take the place of one revision.
ALTER TABLE inventory_revisions ADD COLUMN follows BIGINT UNIQUE; -- the revision before; NULL: of an older version
COMMENT ON COLUMN inventory.origin IS 'file or api';
