-- How large a meeting was expected to become when it was placed, in thousandths of attendees, and how many it has had.
ALTER TABLE meetings ADD COLUMN expected_thousandths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meetings ADD COLUMN peak INTEGER NOT NULL DEFAULT 0;
