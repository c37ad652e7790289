-- compatible_from: 3

-- When it was due first, if that is not when it was accepted: its delay ended, or it was
-- retried. Its deadline is counted from then.
ALTER TABLE executions ADD COLUMN eligible_at INTEGER;
ALTER TABLE executions ADD COLUMN deadline_at INTEGER;
