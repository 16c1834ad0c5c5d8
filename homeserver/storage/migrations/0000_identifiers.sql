-- Users of any server, so that the big tables hold a number instead of the name.
CREATE TABLE user_ids (
    nid {AUTO_ID},
    user_id TEXT NOT NULL UNIQUE
);
