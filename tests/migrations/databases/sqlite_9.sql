BEGIN TRANSACTION;
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
, headers TEXT, tags TEXT, attempts TEXT, wakeups INTEGER NOT NULL DEFAULT 0, has_waits INTEGER NOT NULL DEFAULT 0, not_before INTEGER, attempt_started_at INTEGER, parent TEXT, parent_nonce TEXT, parent_step TEXT, parent_token INTEGER, leaves INTEGER NOT NULL DEFAULT 0, depth INTEGER NOT NULL DEFAULT 0, has_children INTEGER NOT NULL DEFAULT 0, awaits_children INTEGER NOT NULL DEFAULT 0, eligible_at INTEGER, deadline_at INTEGER);
INSERT INTO "executions" VALUES(1,'completed-1','orders','order','completed',NULL,1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1796094055395,1796094055420,1796094055412,1796094055420,NULL,'1024a2d4c4e1405291941b0eb29392ee','fd6e8190b1224fcba560c7ca94e11479:1',NULL,NULL,NULL,NULL,'{"do":"complete"}','{"shelf":7,"paid":12.5}',NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(2,'failed-1','orders','order','failed',NULL,1,NULL,'order',1,0,0,0,NULL,0,0,NULL,NULL,1796094055396,1796094055426,1796094055422,1796094055426,NULL,'5dae11c82e474f48a025ab392264fc78','fd6e8190b1224fcba560c7ca94e11479:1','NonRetryable','no funds','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 45, in order
    raise NonRetryable("no funds")
worchflow.NonRetryable: no funds
',NULL,'{"do":"fail"}',NULL,NULL,NULL,'[{"number":1,"worker":"fd6e8190b1224fcba560c7ca94e11479","started_at":1796094055424,"ended_at":1796094055426,"outcome":"failed","error":{"type":"NonRetryable","message":"no funds","traceback":"Traceback (most recent call last):\n  File \"./tests/migrations/orders.py\", line 45, in order\n    raise NonRetryable(\"no funds\")\nworchflow.NonRetryable: no funds\n","step":null}}]',0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(3,'retrying-1','orders','order','retrying',NULL,1,1796094115436,'order',1,0,0,0,NULL,0,0,NULL,NULL,1796094055397,1796094055436,1796094055430,NULL,1796094115436,'c1333ca530954d85bb4baebb3d82cf1c','fd6e8190b1224fcba560c7ca94e11479:1','ValueError','try again','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 47, in order
    raise ValueError("try again")
ValueError: try again
',NULL,'{"do":"retry"}',NULL,NULL,NULL,'[{"number":1,"worker":"fd6e8190b1224fcba560c7ca94e11479","started_at":1796094055434,"ended_at":1796094055436,"outcome":"failed","error":{"type":"ValueError","message":"try again","traceback":"Traceback (most recent call last):\n  File \"./tests/migrations/orders.py\", line 47, in order\n    raise ValueError(\"try again\")\nValueError: try again\n","step":null}}]',0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(4,'processing-1','orders','order','processing','5e25aa79005e4640bbb990c1416addc6',1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1796094055449,1796094055752,1796094055752,NULL,NULL,'7fe000c671b549d79af0ec98405e96e1',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(5,'flagged-1','orders','order','processing','5e25aa79005e4640bbb990c1416addc6',1,NULL,'order',0,0,0,0,NULL,0,1,'not wanted any more',NULL,1796094055450,1796094055794,1796094055752,NULL,NULL,'4549586c3e4f4cafa0656e1227c7c4fe',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(6,'queued-1','orders','order','queued',NULL,0,1796094055795,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1796094055795,1796094055795,NULL,NULL,NULL,'d18628639b0a44f6895c8cf94cbb0b94',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(7,'delayed-1','orders','order','queued',NULL,0,1796094056798,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1796094055798,1796094055798,NULL,NULL,1796094056798,'4ea9ece81af04bb49c8965094af3f4d7',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,1796094056798,NULL);
INSERT INTO "executions" VALUES(8,'cancelled-1','orders','order','cancelled',NULL,0,NULL,NULL,0,0,0,0,NULL,0,0,'not wanted',NULL,1796094055802,1796094055810,NULL,1796094055810,NULL,'d29ec354d5394fe59f627fffac805b17',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,NULL,NULL);
CREATE TABLE functions (
    queue_prefix TEXT NOT NULL,
    function_id TEXT NOT NULL,
    event_name TEXT NOT NULL,
    PRIMARY KEY (queue_prefix, function_id, event_name)
) WITHOUT ROWID;
INSERT INTO "functions" VALUES('orders','order','order');
CREATE TABLE schema_changes (
    version INTEGER PRIMARY KEY,
    compatible_from INTEGER NOT NULL,
    applied_at INTEGER NOT NULL
);
INSERT INTO "schema_changes" VALUES(4,3,1796094055363);
INSERT INTO "schema_changes" VALUES(5,3,1796094055363);
INSERT INTO "schema_changes" VALUES(6,3,1796094055364);
INSERT INTO "schema_changes" VALUES(7,3,1796094055365);
INSERT INTO "schema_changes" VALUES(8,3,1796094055365);
INSERT INTO "schema_changes" VALUES(9,3,1796094055366);
CREATE TABLE status_counts (
    queue_prefix TEXT NOT NULL,
    status TEXT NOT NULL,
    executions INTEGER NOT NULL,
    PRIMARY KEY (queue_prefix, status)
) WITHOUT ROWID;
INSERT INTO "status_counts" VALUES('orders','cancelled',1);
INSERT INTO "status_counts" VALUES('orders','completed',1);
INSERT INTO "status_counts" VALUES('orders','failed',1);
INSERT INTO "status_counts" VALUES('orders','processing',2);
INSERT INTO "status_counts" VALUES('orders','queued',2);
INSERT INTO "status_counts" VALUES('orders','retrying',1);
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
    result TEXT, kind TEXT, attempt INTEGER, error_class TEXT,
    UNIQUE (execution, step_id)
);
INSERT INTO "steps" VALUES(1,1,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796094055413,1796094055418,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(2,1,'517349a3cdc1acf50617693e3ba33988','Charge',NULL,'completed',1,1,1796094055419,1796094055419,NULL,NULL,NULL,NULL,'12.5',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(3,2,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796094055424,1796094055424,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(4,3,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796094055434,1796094055434,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(5,4,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796094055759,1796094055763,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(6,5,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796094055762,1796094055763,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
CREATE TABLE tags (
    queue_prefix TEXT NOT NULL,
    tag TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (queue_prefix, tag, created_at, id)
) WITHOUT ROWID;
CREATE TABLE taken_events (
    execution INTEGER NOT NULL REFERENCES executions (seq),
    event_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    PRIMARY KEY (execution, event_id)
) WITHOUT ROWID;
CREATE TABLE waits (
    execution INTEGER NOT NULL REFERENCES executions (seq),
    step_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    -- That of the claim under which it was stored.
    token INTEGER NOT NULL,
    deadline INTEGER, queue_prefix TEXT, event_name TEXT, event_key TEXT, since INTEGER, answer_schema TEXT,
    PRIMARY KEY (execution, step_id)
) WITHOUT ROWID;
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
INSERT INTO "workers" VALUES('5e25aa79005e4640bbb990c1416addc6','orders','[["order","order"]]',2,'vm',4058,1796094055741,'5d36b778-cd5a-4a88-9f8e-3c366de597ab',4920327,0);
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
CREATE INDEX events_by_key ON events (queue_prefix, name, key, accepted_at);
CREATE INDEX events_by_age ON events (queue_prefix, accepted_at);
CREATE INDEX events_pending ON events (queue_prefix, accepted_at) WHERE pending;
CREATE TRIGGER taken_events_removed AFTER DELETE ON executions BEGIN
    DELETE FROM taken_events WHERE execution = OLD.seq;
END;
CREATE INDEX waits_by_event
    ON waits (queue_prefix, event_name, event_key, execution, step_id)
    WHERE event_name IS NOT NULL;
CREATE TRIGGER waits_ended AFTER UPDATE OF finished_at ON executions
WHEN NEW.has_waits AND NEW.finished_at IS NOT NULL BEGIN
    DELETE FROM waits WHERE execution = NEW.seq AND kind <> 'token';
    UPDATE executions
    SET has_waits = EXISTS (SELECT 1 FROM waits WHERE execution = NEW.seq)
    WHERE seq = NEW.seq;
END;
CREATE TRIGGER waits_removed AFTER DELETE ON executions WHEN OLD.has_waits BEGIN
    DELETE FROM waits WHERE execution = OLD.seq;
END;
CREATE INDEX executions_by_parent
    ON executions (queue_prefix, parent, created_at, id) WHERE parent IS NOT NULL;
CREATE INDEX executions_to_follow ON executions (queue_prefix, finished_at)
    WHERE has_children AND finished_at IS NOT NULL;
COMMIT;
PRAGMA user_version=9;
