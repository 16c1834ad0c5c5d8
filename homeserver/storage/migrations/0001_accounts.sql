-- Accounts and what belongs to one account alone: sessions, devices, profile, multi-stage authentication.
-- Times are milliseconds since the epoch. Tokens are kept only as their SHA-256.

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    is_guest BOOLEAN NOT NULL,
    is_admin BOOLEAN NOT NULL,
    is_locked BOOLEAN NOT NULL,
    is_suspended BOOLEAN NOT NULL,
    is_erased BOOLEAN NOT NULL,
    is_leaving BOOLEAN NOT NULL, -- deactivated, and rooms are still to be left
    password_hash TEXT, -- argon2id with its parameters, null: no login by password
    created_ms BIGINT NOT NULL,
    deactivated_ms BIGINT
);

CREATE INDEX users_leaving ON users (user_id) WHERE is_leaving;

CREATE TABLE devices (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    display_name TEXT,
    created_ms BIGINT NOT NULL,
    last_seen_ms BIGINT,
    last_seen_ip TEXT,
    last_seen_user_agent TEXT,
    PRIMARY KEY (user_id, device_id)
);

-- The newest change of each device, one that was deleted included.
CREATE TABLE device_list_changes (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

CREATE INDEX device_list_changes_position ON device_list_changes (position);

-- A device has one session at most. Its pairs of tokens are numbered from 1, `current_pair` is the newest
-- pair that was used.
CREATE TABLE sessions (
    session_id {AUTO_ID},
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    current_pair BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (user_id, device_id)
);

CREATE TABLE token_pairs (
    session_id BIGINT NOT NULL,
    pair BIGINT NOT NULL,
    parent_pair BIGINT NOT NULL, -- refreshing that pair gave this one, 0: login did
    access_hash {BYTES} NOT NULL UNIQUE,
    access_expires_ms BIGINT,
    refresh_hash {BYTES} UNIQUE,
    refresh_expires_ms BIGINT,
    PRIMARY KEY (session_id, pair)
);

-- Short-lived tokens, good for one purpose: login (once) or openid.
CREATE TABLE purpose_tokens (
    token_hash {BYTES} PRIMARY KEY,
    purpose TEXT NOT NULL,
    user_id TEXT NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE INDEX purpose_tokens_user ON purpose_tokens (user_id);
CREATE INDEX purpose_tokens_expires ON purpose_tokens (expires_ms);

CREATE TABLE profiles (
    user_id TEXT NOT NULL,
    field TEXT NOT NULL,
    value {BYTES} NOT NULL, -- JSON
    PRIMARY KEY (user_id, field)
);

-- Users whose name or avatar has changed while their rooms do not show it yet.
CREATE TABLE profile_changes (
    user_id TEXT PRIMARY KEY
);

CREATE TABLE registration_tokens (
    token TEXT PRIMARY KEY,
    uses_allowed BIGINT, -- null: any number
    pending BIGINT NOT NULL, -- reserved by registrations under way
    completed BIGINT NOT NULL,
    expires_ms BIGINT,
    created_ms BIGINT NOT NULL
);

-- Multi-stage authentication of which a stage is done. `body_hash` is keyed with the ID of the session, of which only the
-- hash is here: a password in the body cannot be guessed from it.
CREATE TABLE login_sessions (
    session_hash {BYTES} PRIMARY KEY,
    state {BYTES} NOT NULL, -- protocol.login_stages.StageSession, without its ID
    body_hash {BYTES} NOT NULL,
    reserved_token TEXT, -- a registration token of which one use is set aside
    expires_ms BIGINT NOT NULL
);

CREATE INDEX login_sessions_expires ON login_sessions (expires_ms);
