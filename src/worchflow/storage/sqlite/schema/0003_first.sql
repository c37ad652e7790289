-- compatible_from: 3
-- What one database file holds. Moments are milliseconds since 1970 unless their
-- name says `lease`: leases count on a clock that nobody sets.

CREATE TABLE executions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    queue_prefix TEXT NOT NULL,
    event_name TEXT NOT NULL,
    status TEXT NOT NULL,
    owner TEXT,
    token INTEGER NOT NULL DEFAULT 0,
    -- When it may be claimed, and its place in the queue; NULL while it is owned or
    -- finished. Negative is in front of everything that waits.
    due_at INTEGER,
    function_id TEXT,
    attempt_count INTEGER NOT NULL DEFAULT 0,
    recoveries INTEGER NOT NULL DEFAULT 0,
    -- Workers that died while its code ran, since it last recorded a step; -1 after a
    -- first death of which nobody knows whether its code had begun.
    deaths INTEGER NOT NULL DEFAULT 0,
    -- That of the last explicit retry: failures under lower ones are void.
    retry_token INTEGER NOT NULL DEFAULT 0,
    -- The token under which its code is known to have begun.
    begun INTEGER,
    -- How often it was put off because no live worker serves its event.
    hand_ons INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    cancel_reason TEXT,
    reason TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    run_at INTEGER,
    -- Which call inserted it and which claim settled it last, so that a caller who
    -- got no answer recognises its own write.
    nonce TEXT NOT NULL,
    done_by TEXT,
    error_type TEXT,
    error_message TEXT,
    error_traceback TEXT,
    error_step TEXT,
    event_data TEXT NOT NULL,
    result TEXT
);

CREATE INDEX executions_waiting ON executions (queue_prefix, event_name, due_at)
    WHERE due_at IS NOT NULL;
CREATE INDEX executions_put_off ON executions (queue_prefix, event_name)
    WHERE hand_ons > 0;
CREATE INDEX executions_owned ON executions (owner) WHERE owner IS NOT NULL;
CREATE INDEX executions_created ON executions (queue_prefix, created_at, id);
CREATE INDEX executions_by_status
    ON executions (queue_prefix, status, created_at, id);
CREATE INDEX executions_ended ON executions (queue_prefix, status, finished_at)
    WHERE finished_at IS NOT NULL;
CREATE INDEX executions_by_event
    ON executions (queue_prefix, event_name, created_at, id);

-- The prefix of a step is that of its execution.
CREATE TABLE steps (
    seq INTEGER PRIMARY KEY,
    execution INTEGER NOT NULL REFERENCES executions (seq),
    step_id TEXT NOT NULL,
    title TEXT NOT NULL,
    key TEXT,
    status TEXT NOT NULL,
    -- That of the claim under which it was recorded.
    token INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    error_type TEXT,
    error_message TEXT,
    error_traceback TEXT,
    error_step TEXT,
    result TEXT,
    UNIQUE (execution, step_id)
);

CREATE TABLE workers (
    id TEXT NOT NULL PRIMARY KEY,
    queue_prefix TEXT NOT NULL,
    functions TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    dead INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Under which id a function has served an event, for listing by function.
CREATE TABLE functions (
    queue_prefix TEXT NOT NULL,
    function_id TEXT NOT NULL,
    event_name TEXT NOT NULL,
    PRIMARY KEY (queue_prefix, function_id, event_name)
) WITHOUT ROWID;

CREATE TABLE status_counts (
    queue_prefix TEXT NOT NULL,
    status TEXT NOT NULL,
    executions INTEGER NOT NULL,
    PRIMARY KEY (queue_prefix, status)
) WITHOUT ROWID;

CREATE TRIGGER count_inserted AFTER INSERT ON executions BEGIN
    INSERT INTO status_counts VALUES (NEW.queue_prefix, NEW.status, 1)
        ON CONFLICT DO UPDATE SET executions = executions + 1;
END;

CREATE TRIGGER count_moved AFTER UPDATE OF status ON executions
WHEN OLD.status <> NEW.status BEGIN
    UPDATE status_counts SET executions = executions - 1
        WHERE queue_prefix = OLD.queue_prefix AND status = OLD.status;
    INSERT INTO status_counts VALUES (NEW.queue_prefix, NEW.status, 1)
        ON CONFLICT DO UPDATE SET executions = executions + 1;
END;

CREATE TRIGGER count_deleted AFTER DELETE ON executions BEGIN
    UPDATE status_counts SET executions = executions - 1
        WHERE queue_prefix = OLD.queue_prefix AND status = OLD.status;
END;
