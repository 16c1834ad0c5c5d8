-- Since when an event holds its state key. It is the event's own position, but where a fork was resolved.
ALTER TABLE current_state ADD COLUMN since_nid BIGINT NOT NULL DEFAULT 0;

-- The newest event before which something is missing in the order of arrival: a timeline cannot go on over it.
ALTER TABLE rooms ADD COLUMN last_gap BIGINT NOT NULL DEFAULT 0;

-- Events that we do not have, though one that we have names them as previous.
CREATE TABLE missing_events (
    room_nid BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    depth BIGINT NOT NULL,            -- of the deepest event that names it
    follower_nid BIGINT NOT NULL,     -- that event
    PRIMARY KEY (room_nid, event_id)
);

-- Rooms whose members are still to be fetched after a join.
CREATE TABLE partial_rooms (
    room_nid BIGINT NOT NULL PRIMARY KEY,
    join_id TEXT NOT NULL,
    state_nid BIGINT NOT NULL,        -- the incomplete state before the join
    servers {BYTES} NOT NULL          -- JSON list: who can be asked
);

-- What a user was shown of a room that this server is not in: an invite, a knock, the end of either.
CREATE TABLE outside_memberships (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    stripped {BYTES} NOT NULL,        -- JSON list
    PRIMARY KEY (room_nid, user_nid)
);
