-- Positions handed out by the one sequence that every stream draws from.
CREATE TABLE stream_position (reserved BIGINT NOT NULL);
INSERT INTO stream_position (reserved) VALUES (0);

CREATE TABLE rooms (
    nid {AUTO_ID},
    room_id TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    is_public BOOLEAN NOT NULL,
    heads {BYTES} NOT NULL,          -- forward extremities: JSON list of event ids
    depth BIGINT NOT NULL,           -- greatest depth so far
    tip BIGINT NOT NULL,             -- the last event persisted: fences off a writer that is behind
    state_nid BIGINT NOT NULL        -- the current state, in state_sets
);

-- (type, state_key) pairs, so that a state set is a set of pairs of integers.
CREATE TABLE state_keys (
    nid {AUTO_ID},
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    UNIQUE (type, state_key)
);

CREATE TABLE events (
    nid {ID},                        -- the position at which it reached us
    event_id TEXT {BINARY} NOT NULL UNIQUE,
    room_nid BIGINT NOT NULL,
    type TEXT NOT NULL,
    state_key_nid BIGINT,            -- null: not a state event
    sender_nid BIGINT NOT NULL,
    depth BIGINT NOT NULL,
    origin_server_ts BIGINT NOT NULL,
    state_nid BIGINT,                -- the state before it; null: an outlier
    replaces_nid BIGINT,             -- the state event that it replaced
    status BIGINT NOT NULL,          -- 0 accepted, 1 rejected, 2 soft failed, 3 outlier
    notify BIGINT NOT NULL,          -- for everyone on the predefined push rules: 0 no, 1 notify, 2 highlight
    thread_root TEXT,
    redacted_by BIGINT,              -- the redaction that emptied it
    txn TEXT {BINARY},               -- device U+001F transaction, of the local sender
    raw {BYTES} NOT NULL
);
CREATE INDEX events_by_stream ON events (room_nid, nid);
CREATE INDEX events_by_depth ON events (room_nid, depth, nid);
CREATE INDEX events_by_time ON events (room_nid, origin_server_ts);
CREATE INDEX events_that_notify ON events (room_nid, nid) WHERE notify > 0;
CREATE INDEX events_of_state ON events (room_nid, state_key_nid, nid) WHERE state_key_nid IS NOT NULL;
CREATE INDEX events_by_txn ON events (sender_nid, txn) WHERE txn IS NOT NULL;

-- A redaction that came before what it redacts waits here.
CREATE TABLE early_redactions (
    redacts TEXT NOT NULL,
    redaction_nid BIGINT NOT NULL,
    PRIMARY KEY (redacts, redaction_nid)
);

-- What relates to what (m.relates_to), for threads, edits and reactions.
CREATE TABLE relations (
    event_nid {ID},
    room_nid BIGINT NOT NULL,
    parent_id TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    aggregation_key TEXT
);
CREATE INDEX relations_by_parent ON relations (parent_id, rel_type, event_nid);
CREATE INDEX threads_of_rooms ON relations (room_nid, parent_id) WHERE rel_type = 'm.thread';

-- State: packed pairs of (state_keys.nid, events.nid), as deltas at most four deep.
CREATE TABLE state_sets (
    nid {ID},                        -- that of the event which made it
    room_nid BIGINT NOT NULL,
    hash {BYTES} NOT NULL,           -- order-independent, of its event ids
    parent_nid BIGINT,               -- null: a full set
    layers BIGINT NOT NULL,
    entries BIGINT NOT NULL,         -- pairs in this layer
    added {BYTES} NOT NULL
);
CREATE INDEX state_sets_by_hash ON state_sets (room_nid, hash);

CREATE TABLE current_state (
    room_nid BIGINT NOT NULL,
    state_key_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (room_nid, state_key_nid)
);

CREATE TABLE memberships (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    membership TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    since_nid BIGINT NOT NULL,       -- the event that began this membership (a change of name keeps it)
    is_local BOOLEAN NOT NULL,
    forgotten BOOLEAN NOT NULL,
    PRIMARY KEY (room_nid, user_nid)
);
CREATE INDEX memberships_of_user ON memberships (user_nid, membership);

CREATE TABLE aliases (
    alias TEXT NOT NULL PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    creator TEXT NOT NULL
);
CREATE INDEX aliases_of_room ON aliases (room_nid);
