-- compatible_from: 3

-- How often a step was tried that waits for its next try.
ALTER TABLE waits ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
