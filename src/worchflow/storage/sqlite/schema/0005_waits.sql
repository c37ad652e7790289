-- compatible_from: 3

-- How often it was woken, whether it may have waits, and until when a suspended one is
-- not claimed, whatever wakes it.
ALTER TABLE executions ADD COLUMN wakeups INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN has_waits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN not_before INTEGER;
-- When the attempt began that was suspended and has not ended.
ALTER TABLE executions ADD COLUMN attempt_started_at INTEGER;

-- What a step was asked for by, NULL for `run`; the only attempt that a failure counts
-- for, and its class.
ALTER TABLE steps ADD COLUMN kind TEXT;
ALTER TABLE steps ADD COLUMN attempt INTEGER;
ALTER TABLE steps ADD COLUMN error_class TEXT;

-- What executions wait for; the prefix of a wait is that of its execution.
CREATE TABLE waits (
    execution INTEGER NOT NULL REFERENCES executions (seq),
    step_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    -- That of the claim under which it was stored.
    token INTEGER NOT NULL,
    deadline INTEGER,
    PRIMARY KEY (execution, step_id)
) WITHOUT ROWID;

CREATE TRIGGER waits_ended AFTER UPDATE OF finished_at ON executions
WHEN NEW.has_waits AND NEW.finished_at IS NOT NULL BEGIN
    DELETE FROM waits WHERE execution = NEW.seq;
    UPDATE executions SET has_waits = 0 WHERE seq = NEW.seq;
END;
