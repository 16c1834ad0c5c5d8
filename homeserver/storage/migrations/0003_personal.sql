-- What clients keep with their account. room_id is '' for what is not about a room.
CREATE TABLE account_data (
    user_id TEXT NOT NULL,
    room_id TEXT NOT NULL,
    type TEXT NOT NULL,
    content {BYTES} NOT NULL,        -- JSON; empty: rendered by the server when it is read (m.push_rules)
    position BIGINT NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_by_position ON account_data (user_id, position);
CREATE INDEX account_data_ignored ON account_data (type) WHERE type = 'm.ignored_user_list';

CREATE TABLE filters (
    user_id TEXT NOT NULL,
    filter_id TEXT NOT NULL,         -- a hash of the content: filters never change
    content {BYTES} NOT NULL,
    PRIMARY KEY (user_id, filter_id)
);

-- Only users whose rules differ from the predefined ones, and only the differences.
CREATE TABLE push_rules (
    user_id TEXT NOT NULL PRIMARY KEY,
    changes {BYTES} NOT NULL
);

CREATE TABLE pushers (
    user_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    pushkey TEXT NOT NULL,
    device_id TEXT,                  -- that set it: it goes when the device logs out; null: none did
    pusher {BYTES} NOT NULL,         -- as the client gave it, without app_id and pushkey
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, app_id, pushkey)
);
CREATE INDEX pushers_by_key ON pushers (app_id, pushkey);

CREATE TABLE receipts (
    user_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    type TEXT NOT NULL,              -- m.read, m.read.private
    thread TEXT NOT NULL,            -- '' unthreaded, main, or the root's event id
    event_id TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    ts BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user_nid, room_nid, type, thread)
);
CREATE INDEX receipts_by_position ON receipts (room_nid, position);

CREATE TABLE presence (
    user_id TEXT NOT NULL PRIMARY KEY,
    was_online BOOLEAN NOT NULL,     -- not offline when this was saved
    last_active_ts BIGINT NOT NULL,
    status_msg TEXT                  -- null: none
);

CREATE INDEX presence_online ON presence (user_id) WHERE was_online;

-- For whom an event is something else than events.notify says, and then always:
-- the mentioned, the invited and those with rules of their own.
CREATE TABLE push_actions (
    user_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    thread_root TEXT,
    notify BOOLEAN NOT NULL,
    highlight BOOLEAN NOT NULL,
    PRIMARY KEY (user_nid, room_nid, event_nid)
);
CREATE INDEX push_actions_by_event ON push_actions (user_nid, event_nid);
