-- Two changes at the same moment must not both take the place of one revision.
ALTER TABLE inventory_revisions ADD COLUMN follows BIGINT UNIQUE; -- the revision before; NULL: of an older version
COMMENT ON COLUMN inventory.origin IS 'file or api';

-- An older version knows of no API, and would take away all that came through it.
CREATE FUNCTION inventory_keep_managed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM inventory WHERE origin = 'api') THEN
        RAISE EXCEPTION 'the inventory has objects of the API, which this version of Portico does not know: upgrade it';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER inventory_keep_managed BEFORE INSERT ON inventory_revisions
    FOR EACH ROW WHEN (NEW.follows IS NULL) EXECUTE FUNCTION inventory_keep_managed();
