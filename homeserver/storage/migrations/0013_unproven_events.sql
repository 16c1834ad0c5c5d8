-- Events of rooms' states whose signatures could not be checked when the room was joined, or a gap closed: the
-- keys of their servers could not be had. They are looked at again when these are.
CREATE TABLE unproven_events (
    room_nid BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    servers TEXT NOT NULL,           -- who must have signed it, with blanks between; empty: it rests on another
    part SMALLINT NOT NULL,          -- of what it was told to be a part: see storage/unproven_events.py
    raw {BYTES} NOT NULL,            -- empty once it is part of the room's state
    PRIMARY KEY (room_nid, event_id)
);
