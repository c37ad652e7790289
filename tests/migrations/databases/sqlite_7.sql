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
, headers TEXT, tags TEXT, attempts TEXT, wakeups INTEGER NOT NULL DEFAULT 0, has_waits INTEGER NOT NULL DEFAULT 0, not_before INTEGER, attempt_started_at INTEGER);
INSERT INTO "executions" VALUES(1,'completed-1','orders','order','completed',NULL,1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1796053863946,1796053863978,1796053863966,1796053863978,NULL,'a9178bd6d9b34fe38e9ae19e50a9154c','c1018d331fd44866addece4be6738224:1',NULL,NULL,NULL,NULL,'{"do":"complete"}','{"shelf":7,"paid":12.5}',NULL,NULL,NULL,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(2,'failed-1','orders','order','failed',NULL,1,NULL,'order',1,0,0,0,NULL,0,0,NULL,NULL,1796053863950,1796053863990,1796053863983,1796053863990,NULL,'f9d3d4b39ac14f3c90e972fb48acb4fb','c1018d331fd44866addece4be6738224:1','NonRetryable','no funds','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 45, in order
    raise NonRetryable("no funds")
worchflow.NonRetryable: no funds
',NULL,'{"do":"fail"}',NULL,NULL,NULL,'[{"number":1,"worker":"c1018d331fd44866addece4be6738224","started_at":1796053863984,"ended_at":1796053863990,"outcome":"failed","error":{"type":"NonRetryable","message":"no funds","traceback":"Traceback (most recent call last):\n  File \"./tests/migrations/orders.py\", line 45, in order\n    raise NonRetryable(\"no funds\")\nworchflow.NonRetryable: no funds\n","step":null}}]',0,0,NULL,NULL);
INSERT INTO "executions" VALUES(3,'retrying-1','orders','order','retrying',NULL,1,1796053924001,'order',1,0,0,0,NULL,0,0,NULL,NULL,1796053863952,1796053864001,1796053863994,NULL,1796053924001,'dc18144db39f4e59aac0082727c172ae','c1018d331fd44866addece4be6738224:1','ValueError','try again','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 47, in order
    raise ValueError("try again")
ValueError: try again
',NULL,'{"do":"retry"}',NULL,NULL,NULL,'[{"number":1,"worker":"c1018d331fd44866addece4be6738224","started_at":1796053863996,"ended_at":1796053864001,"outcome":"failed","error":{"type":"ValueError","message":"try again","traceback":"Traceback (most recent call last):\n  File \"./tests/migrations/orders.py\", line 47, in order\n    raise ValueError(\"try again\")\nValueError: try again\n","step":null}}]',0,0,NULL,NULL);
INSERT INTO "executions" VALUES(4,'processing-1','orders','order','processing','81db0836350e43c083c01e22f44da0b9',1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1796053864016,1796053865113,1796053865113,NULL,NULL,'277aa2320ea5475daa7090d1522eab35',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(5,'flagged-1','orders','order','processing','81db0836350e43c083c01e22f44da0b9',1,NULL,'order',0,0,0,0,NULL,0,1,'not wanted any more',NULL,1796053864019,1796053865157,1796053865113,NULL,NULL,'042cebfdeb704f689a993969c1aa455d',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(6,'queued-1','orders','order','queued',NULL,0,1796053865161,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1796053865161,1796053865161,NULL,NULL,NULL,'fd4370e102b34e60a036295430396368',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(7,'delayed-1','orders','order','queued',NULL,0,1796053866163,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1796053865163,1796053865163,NULL,NULL,1796053866163,'8d0215a06ab9433a8057a5025263392d',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL);
INSERT INTO "executions" VALUES(8,'cancelled-1','orders','order','cancelled',NULL,0,NULL,NULL,0,0,0,0,NULL,0,0,'not wanted',NULL,1796053865166,1796053865168,NULL,1796053865168,NULL,'8e4186a4145c4c2eb65f1e1d934dc3d6',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL,0,0,NULL,NULL);
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
INSERT INTO "schema_changes" VALUES(4,3,1796053863935);
INSERT INTO "schema_changes" VALUES(5,3,1796053863936);
INSERT INTO "schema_changes" VALUES(6,3,1796053863938);
INSERT INTO "schema_changes" VALUES(7,3,1796053863939);
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
INSERT INTO "steps" VALUES(1,1,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796053863970,1796053863972,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(2,1,'517349a3cdc1acf50617693e3ba33988','Charge',NULL,'completed',1,1,1796053863974,1796053863976,NULL,NULL,NULL,NULL,'12.5',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(3,2,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796053863985,1796053863986,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(4,3,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796053863997,1796053863997,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(5,4,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796053865117,1796053865119,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
INSERT INTO "steps" VALUES(6,5,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796053865118,1796053865120,NULL,NULL,NULL,NULL,'{"shelf":7}',NULL,NULL,NULL);
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
INSERT INTO "workers" VALUES('81db0836350e43c083c01e22f44da0b9','orders','[["order","order"]]',2,'vm',23864,1796053865104,'afbfdbe4-130c-45b4-a0d8-87b75e30ac81',47818846,0);
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
COMMIT;
PRAGMA user_version=7;
