-- compatible_from: 3

-- Events that executions wait for, and which step of an execution has taken which.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    queue_prefix TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT,
    data TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    -- Whether somebody who waits for it may not have been woken.
    pending INTEGER NOT NULL DEFAULT 1,
    UNIQUE (queue_prefix, id)
);
CREATE INDEX events_by_key ON events (queue_prefix, name, key, accepted_at);
CREATE INDEX events_by_age ON events (queue_prefix, accepted_at);
CREATE INDEX events_pending ON events (queue_prefix, accepted_at) WHERE pending;

CREATE TABLE taken_events (
    execution INTEGER NOT NULL REFERENCES executions (seq),
    event_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    PRIMARY KEY (execution, event_id)
) WITHOUT ROWID;

CREATE TRIGGER taken_events_removed AFTER DELETE ON executions BEGIN
    DELETE FROM taken_events WHERE execution = OLD.seq;
END;

-- Of a wait for an event: which, and those accepted since when.
ALTER TABLE waits ADD COLUMN queue_prefix TEXT;
ALTER TABLE waits ADD COLUMN event_name TEXT;
ALTER TABLE waits ADD COLUMN event_key TEXT;
ALTER TABLE waits ADD COLUMN since INTEGER;
CREATE INDEX waits_by_event
    ON waits (queue_prefix, event_name, event_key, execution, step_id)
    WHERE event_name IS NOT NULL;
