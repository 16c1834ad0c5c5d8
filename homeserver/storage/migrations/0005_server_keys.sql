-- Signing keys of other servers. `document` is the newest one that vouches for the key, as its server signed it;
-- `valid_until_ms` is when the key expires or, for one still in use, when its server must be asked again.
CREATE TABLE server_keys (
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    public_key {BYTES} NOT NULL,
    valid_until_ms BIGINT NOT NULL,
    fetched_ms BIGINT NOT NULL,
    document {BYTES} NOT NULL,
    PRIMARY KEY (server_name, key_id)
);
