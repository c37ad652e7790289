BEGIN TRANSACTION;
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
, headers TEXT, tags TEXT, attempts TEXT);
INSERT INTO "executions" VALUES(1,'completed-1','orders','order','completed',NULL,1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1796012270541,1796012270562,1796012270555,1796012270562,NULL,'c8e582f005a74e5aa831db101ebe3968','8f9d5a69dff340d298fa249813fd1e40:1',NULL,NULL,NULL,NULL,'{"do":"complete"}','{"shelf":7,"paid":12.5}',NULL,NULL,NULL);
INSERT INTO "executions" VALUES(2,'failed-1','orders','order','failed',NULL,1,NULL,'order',1,0,0,0,NULL,0,0,NULL,NULL,1796012270544,1796012270570,1796012270564,1796012270570,NULL,'2acb0ede86d34f77a6008b257792d3ce','8f9d5a69dff340d298fa249813fd1e40:1','NonRetryable','no funds','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 45, in order
    raise NonRetryable("no funds")
worchflow.NonRetryable: no funds
',NULL,'{"do":"fail"}',NULL,NULL,NULL,'[{"number":1,"worker":"8f9d5a69dff340d298fa249813fd1e40","started_at":1796012270566,"ended_at":1796012270570,"outcome":"failed","error":{"type":"NonRetryable","message":"no funds","traceback":"Traceback (most recent call last):\n  File \"./tests/migrations/orders.py\", line 45, in order\n    raise NonRetryable(\"no funds\")\nworchflow.NonRetryable: no funds\n","step":null}}]');
INSERT INTO "executions" VALUES(3,'retrying-1','orders','order','retrying',NULL,1,1796012330576,'order',1,0,0,0,NULL,0,0,NULL,NULL,1796012270545,1796012270576,1796012270572,NULL,1796012330576,'725eb108362c4cbb8fb509c70dae2667','8f9d5a69dff340d298fa249813fd1e40:1','ValueError','try again','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 47, in order
    raise ValueError("try again")
ValueError: try again
',NULL,'{"do":"retry"}',NULL,NULL,NULL,'[{"number":1,"worker":"8f9d5a69dff340d298fa249813fd1e40","started_at":1796012270573,"ended_at":1796012270576,"outcome":"failed","error":{"type":"ValueError","message":"try again","traceback":"Traceback (most recent call last):\n  File \"./tests/migrations/orders.py\", line 47, in order\n    raise ValueError(\"try again\")\nValueError: try again\n","step":null}}]');
INSERT INTO "executions" VALUES(4,'processing-1','orders','order','processing','40bd14bec2ae4d79888a43062e3ef751',1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1796012270585,1796012271329,1796012271329,NULL,NULL,'0ecf0e23a83e4b8898a8833f39a3a1ca',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL,NULL,NULL,NULL);
INSERT INTO "executions" VALUES(5,'flagged-1','orders','order','processing','40bd14bec2ae4d79888a43062e3ef751',1,NULL,'order',0,0,0,0,NULL,0,1,'not wanted any more',NULL,1796012270586,1796012271364,1796012271329,NULL,NULL,'f756bc5bb183458d8b5d4f9b54ceac6e',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL,NULL,NULL,NULL);
INSERT INTO "executions" VALUES(6,'queued-1','orders','order','queued',NULL,0,1796012271366,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1796012271366,1796012271366,NULL,NULL,NULL,'122a246e92de413fb837b6302518f9d1',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL);
INSERT INTO "executions" VALUES(7,'delayed-1','orders','order','queued',NULL,0,1796012272368,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1796012271368,1796012271368,NULL,NULL,1796012272368,'12722a94f1c0492599da99864a0b8bcd',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL);
INSERT INTO "executions" VALUES(8,'cancelled-1','orders','order','cancelled',NULL,0,NULL,NULL,0,0,0,0,NULL,0,0,'not wanted',NULL,1796012271369,1796012271371,NULL,1796012271371,NULL,'618de9203ae44a4599c9a7af12da25e6',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL,NULL,NULL,NULL);
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
INSERT INTO "schema_changes" VALUES(4,3,1796012270534);
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
    result TEXT,
    UNIQUE (execution, step_id)
);
INSERT INTO "steps" VALUES(1,1,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796012270557,1796012270558,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(2,1,'517349a3cdc1acf50617693e3ba33988','Charge',NULL,'completed',1,1,1796012270560,1796012270561,NULL,NULL,NULL,NULL,'12.5');
INSERT INTO "steps" VALUES(3,2,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796012270566,1796012270567,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(4,3,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796012270574,1796012270574,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(5,4,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796012271332,1796012271333,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(6,5,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1796012271332,1796012271334,NULL,NULL,NULL,NULL,'{"shelf":7}');
CREATE TABLE tags (
    queue_prefix TEXT NOT NULL,
    tag TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (queue_prefix, tag, created_at, id)
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
INSERT INTO "workers" VALUES('40bd14bec2ae4d79888a43062e3ef751','orders','[["order","order"]]',2,'vm',11036,1796012271323,'afbfdbe4-130c-45b4-a0d8-87b75e30ac81',6225065,0);
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
COMMIT;
PRAGMA user_version=4;
