-- Files of other servers that were fetched: copies, which can be fetched again.
CREATE TABLE remote_media (
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    size BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    file_name TEXT,
    fetched_ms BIGINT NOT NULL,
    used_ms BIGINT NOT NULL,           -- to the hour
    quarantined_by TEXT,
    PRIMARY KEY (origin, media_id)
);
CREATE INDEX remote_media_by_use ON remote_media (used_ms);
CREATE INDEX remote_media_by_content ON remote_media (content_hash);
