-- Since when EDUs wait: those for servers that do not come back are dropped in time. Nothing wrote any before this.
ALTER TABLE outgoing_edus ADD COLUMN added_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX outgoing_edus_by_age ON outgoing_edus (type, added_ms);
