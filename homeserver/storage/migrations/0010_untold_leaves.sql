-- Invites refused and knocks taken back, of which no server could be told yet.
CREATE TABLE untold_leaves (
    room_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    servers {BYTES} NOT NULL,         -- JSON list: whom to tell
    content {BYTES} NOT NULL,         -- of the member event
    attempts BIGINT NOT NULL,
    next_ms BIGINT NOT NULL,
    PRIMARY KEY (room_id, user_id)
);
