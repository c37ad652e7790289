-- compatible_from: 3

-- Of a wait for an answer to a token: what the answer has to look like.
ALTER TABLE waits ADD COLUMN answer_schema TEXT;

-- Those of tokens stay as long as their execution.
DROP TRIGGER waits_ended;
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
