-- Media: what local users uploaded, or said they would. The bytes lie on disk under their SHA-256.

-- One row per media ID. Until the upload arrives `uploaded_ms` and `content_hash` are NULL and
-- `expires_ms` says when the promise lapses; afterwards it is the other way round.
CREATE TABLE media (
    media_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    uploaded_ms BIGINT,
    content_hash TEXT,
    size BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    file_name TEXT,
    quarantined_by TEXT
);

CREATE INDEX media_by_user ON media (user_id, created_ms);
CREATE INDEX media_by_content ON media (content_hash) WHERE content_hash IS NOT NULL;
CREATE INDEX media_awaited ON media (expires_ms) WHERE expires_ms IS NOT NULL;

-- Bytes each user has stored, kept in the transaction that adds media.
CREATE TABLE media_usage (
    user_id TEXT NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL,
    files BIGINT NOT NULL
);
