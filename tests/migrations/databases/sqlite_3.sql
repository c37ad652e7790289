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
);
INSERT INTO "executions" VALUES(1,'completed-1','orders','order','completed',NULL,1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1795974726299,1795974726314,1795974726309,1795974726314,NULL,'fbbe2983e0bf475c9203dedbd3c62bc0','0fdd578887f9481c9c6fc41a7448c7bc:1',NULL,NULL,NULL,NULL,'{"do":"complete"}','{"shelf":7,"paid":12.5}');
INSERT INTO "executions" VALUES(2,'failed-1','orders','order','failed',NULL,1,NULL,'order',1,0,0,0,NULL,0,0,NULL,NULL,1795974726303,1795974726317,1795974726315,1795974726317,NULL,'3d18823dd0fe4a4d88c1c75bba39d8e0','0fdd578887f9481c9c6fc41a7448c7bc:1','NonRetryable','no funds','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 45, in order
    raise NonRetryable("no funds")
worchflow.NonRetryable: no funds
',NULL,'{"do":"fail"}',NULL);
INSERT INTO "executions" VALUES(3,'retrying-1','orders','order','retrying',NULL,1,1795974786320,'order',1,0,0,0,NULL,0,0,NULL,NULL,1795974726304,1795974726320,1795974726318,NULL,1795974786320,'5172439d3f7b42a19dc330c321b5dcd2','0fdd578887f9481c9c6fc41a7448c7bc:1','ValueError','try again','Traceback (most recent call last):
  File "./tests/migrations/orders.py", line 47, in order
    raise ValueError("try again")
ValueError: try again
',NULL,'{"do":"retry"}',NULL);
INSERT INTO "executions" VALUES(4,'processing-1','orders','order','processing','0c803b81843445d9a5b53793da187351',1,NULL,'order',0,0,0,0,NULL,0,0,NULL,NULL,1795974726324,1795974726909,1795974726909,NULL,NULL,'8b1c1087ad0545d7b1c999994e923c87',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL);
INSERT INTO "executions" VALUES(5,'flagged-1','orders','order','processing','0c803b81843445d9a5b53793da187351',1,NULL,'order',0,0,0,0,NULL,0,1,'not wanted any more',NULL,1795974726325,1795974726961,1795974726909,NULL,NULL,'fa53a75ec05e46a5ac8149d7bdf37d25',NULL,NULL,NULL,NULL,NULL,'{"do":"die"}',NULL);
INSERT INTO "executions" VALUES(6,'queued-1','orders','order','queued',NULL,0,1795974726962,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1795974726962,1795974726962,NULL,NULL,NULL,'cd7fedd9794d42bfafa24fad30ea2109',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL);
INSERT INTO "executions" VALUES(7,'delayed-1','orders','order','queued',NULL,0,1795974727963,NULL,0,0,0,0,NULL,0,0,NULL,NULL,1795974726963,1795974726963,NULL,NULL,1795974727963,'7852786e58bd4e13bb689d361fc94312',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL);
INSERT INTO "executions" VALUES(8,'cancelled-1','orders','order','cancelled',NULL,0,NULL,NULL,0,0,0,0,NULL,0,0,'not wanted',NULL,1795974726964,1795974726964,NULL,1795974726964,NULL,'4271c9ed4bb744d3989b29aa6eef9994',NULL,NULL,NULL,NULL,NULL,'{"do":"complete"}',NULL);
CREATE TABLE functions (
    queue_prefix TEXT NOT NULL,
    function_id TEXT NOT NULL,
    event_name TEXT NOT NULL,
    PRIMARY KEY (queue_prefix, function_id, event_name)
) WITHOUT ROWID;
INSERT INTO "functions" VALUES('orders','order','order');
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
INSERT INTO "steps" VALUES(1,1,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1795974726312,1795974726312,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(2,1,'517349a3cdc1acf50617693e3ba33988','Charge',NULL,'completed',1,1,1795974726313,1795974726314,NULL,NULL,NULL,NULL,'12.5');
INSERT INTO "steps" VALUES(3,2,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1795974726316,1795974726317,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(4,3,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1795974726319,1795974726320,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(5,4,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1795974726911,1795974726912,NULL,NULL,NULL,NULL,'{"shelf":7}');
INSERT INTO "steps" VALUES(6,5,'66f9c6c5b672ee16deeef6e4503cb4bc','Reserve',NULL,'completed',1,1,1795974726912,1795974726914,NULL,NULL,NULL,NULL,'{"shelf":7}');
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
INSERT INTO "workers" VALUES('0c803b81843445d9a5b53793da187351','orders','[["order", "order"]]',2,'vm',18599,1795974726905,'318072a1-09c2-4a39-94c6-5b13eccaba10',60235179,0);
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
COMMIT;
PRAGMA user_version=3;
