-- What redactions emptied in rooms whose members are still to be fetched: with these a redaction may turn out
-- to be nobody's. Gone once the room is known whole.
CREATE TABLE redacted_originals (
    room_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    raw {BYTES} NOT NULL,
    PRIMARY KEY (room_nid, event_nid)
);
