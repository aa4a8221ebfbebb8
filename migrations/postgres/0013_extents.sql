-- How large a meeting was expected to become when it was placed, in thousandths of attendees, and how many it has had.
ALTER TABLE meetings ADD COLUMN expected_thousandths BIGINT NOT NULL DEFAULT 0;
ALTER TABLE meetings ADD COLUMN peak BIGINT NOT NULL DEFAULT 0;
