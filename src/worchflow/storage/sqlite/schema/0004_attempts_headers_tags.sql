-- compatible_from: 3
-- Releases from this schema on can use the database as this file leaves it.

-- Which schemas the database has had, from this one on.
CREATE TABLE schema_changes (
    version INTEGER PRIMARY KEY,
    compatible_from INTEGER NOT NULL,
    applied_at INTEGER NOT NULL
);

-- JSON: an object of text, an array of text, and the newest attempts that have ended.
ALTER TABLE executions ADD COLUMN headers TEXT;
ALTER TABLE executions ADD COLUMN tags TEXT;
ALTER TABLE executions ADD COLUMN attempts TEXT;

-- The tags of executions, in the order of a listing; `seq` is that of the execution.
CREATE TABLE tags (
    queue_prefix TEXT NOT NULL,
    tag TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (queue_prefix, tag, created_at, id)
) WITHOUT ROWID;

CREATE TRIGGER tag_inserted AFTER INSERT ON executions
WHEN NEW.tags IS NOT NULL BEGIN
    INSERT INTO tags
        SELECT NEW.queue_prefix, value, NEW.created_at, NEW.id, NEW.seq
        FROM json_each(NEW.tags);
END;

CREATE TRIGGER tag_deleted AFTER DELETE ON executions
WHEN OLD.tags IS NOT NULL BEGIN
    DELETE FROM tags
        WHERE queue_prefix = OLD.queue_prefix AND created_at = OLD.created_at
            AND id = OLD.id AND tag IN (SELECT value FROM json_each(OLD.tags));
END;
