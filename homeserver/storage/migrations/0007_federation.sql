-- Other servers that share rooms with us, and how sending to them goes.
CREATE TABLE destinations (
    nid {AUTO_ID},
    server TEXT NOT NULL UNIQUE,
    sent_nid BIGINT NOT NULL,          -- every outgoing event for it up to this one has been delivered
    receipts_position BIGINT NOT NULL, -- and every receipt up to this position
    last_txn TEXT,                     -- the last transaction it took
    last_success_ms BIGINT,
    failing_since_ms BIGINT,           -- null: it answers
    last_failure_ms BIGINT,
    failures BIGINT NOT NULL,          -- in a row
    retry_at_ms BIGINT NOT NULL,
    last_error TEXT,
    is_blocked BOOLEAN NOT NULL,
    keeps_log BOOLEAN NOT NULL         -- it names the transactions before (prev_ids): it can ask for lost ones
);
CREATE INDEX destinations_in_trouble ON destinations (nid) WHERE failing_since_ms IS NOT NULL OR is_blocked;

-- Which events have to go out. Written with the event itself. To whom: see destination_rooms.
CREATE TABLE outgoing_events (
    event_nid {ID},
    room_nid BIGINT NOT NULL,
    besides TEXT                       -- the server that handed the event to us: it has it already
);
CREATE INDEX outgoing_events_of_room ON outgoing_events (room_nid, event_nid);

-- A destination gets the outgoing events of the room with from_nid <= event_nid < to_nid.
CREATE TABLE destination_rooms (
    destination_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    from_nid BIGINT NOT NULL,
    to_nid BIGINT NOT NULL,            -- 9223372036854775807: still in the room
    PRIMARY KEY (destination_nid, room_nid, from_nid)
);
CREATE INDEX destination_rooms_now ON destination_rooms (room_nid) WHERE to_nid = 9223372036854775807;

-- EDUs that must not get lost. A later one with the same key takes the place of one not yet delivered.
CREATE TABLE outgoing_edus (
    destination_nid BIGINT NOT NULL,
    type TEXT NOT NULL,
    key TEXT NOT NULL,
    edu_nid BIGINT NOT NULL,
    PRIMARY KEY (destination_nid, type, key)
);
CREATE INDEX outgoing_edus_in_order ON outgoing_edus (destination_nid, edu_nid);
CREATE INDEX outgoing_edus_by_content ON outgoing_edus (edu_nid);

CREATE TABLE edu_contents (
    nid {AUTO_ID},
    content {BYTES} NOT NULL           -- canonical JSON, shared by all destinations it goes to
);

-- What we sent lately to servers that would notice a transaction that got lost.
CREATE TABLE sent_transactions (
    number {AUTO_ID},
    destination_nid BIGINT NOT NULL,
    txn_id TEXT NOT NULL,
    body {BYTES} NOT NULL
);
CREATE INDEX sent_transactions_in_order ON sent_transactions (destination_nid, number);

-- Transactions that were taken in and answered.
CREATE TABLE received_transactions (
    origin TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    answer {BYTES} NOT NULL,
    received_ms BIGINT NOT NULL,
    PRIMARY KEY (origin, txn_id)
);
CREATE INDEX received_transactions_by_age ON received_transactions (received_ms);

-- Events that were taken in and wait for their room's turn.
CREATE TABLE staged_events (
    nid {AUTO_ID},
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    origin TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    pdu {BYTES} NOT NULL,
    UNIQUE (room_id, origin, event_id)
);
CREATE INDEX staged_events_in_order ON staged_events (room_id, origin, nid);
