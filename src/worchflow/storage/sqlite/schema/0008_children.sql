-- compatible_from: 3

-- The execution of which a step has started it, and the token of the claim under which
-- that was; whether it goes on when that one ends, and how many are above it.
ALTER TABLE executions ADD COLUMN parent TEXT;
ALTER TABLE executions ADD COLUMN parent_nonce TEXT;
ALTER TABLE executions ADD COLUMN parent_step TEXT;
ALTER TABLE executions ADD COLUMN parent_token INTEGER;
ALTER TABLE executions ADD COLUMN leaves INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
-- Whether it may have children; of one that has ended, whether some are to be cancelled.
ALTER TABLE executions ADD COLUMN has_children INTEGER NOT NULL DEFAULT 0;
-- Whether the end of a child queues it while it is suspended.
ALTER TABLE executions ADD COLUMN awaits_children INTEGER NOT NULL DEFAULT 0;

CREATE INDEX executions_by_parent
    ON executions (queue_prefix, parent, created_at, id) WHERE parent IS NOT NULL;
CREATE INDEX executions_to_follow ON executions (queue_prefix, finished_at)
    WHERE has_children AND finished_at IS NOT NULL;
