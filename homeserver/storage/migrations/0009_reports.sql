-- What users told the operators about events, rooms and people. One of event_id, room_id, user_id says which it is about:
-- an event has its room and sender beside it, a room and a user stand alone.
CREATE TABLE reports (
    report_id {AUTO_ID},
    received_ms BIGINT NOT NULL,
    reporter_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    room_id TEXT,
    event_id TEXT,
    user_id TEXT,
    event {BYTES}                    -- as the reporter saw it: it may be redacted since
);
CREATE INDEX reports_by_room ON reports (room_id, report_id) WHERE room_id IS NOT NULL;
CREATE INDEX reports_by_user ON reports (user_id, report_id) WHERE user_id IS NOT NULL;
CREATE INDEX reports_by_reporter ON reports (reporter_id, report_id);
