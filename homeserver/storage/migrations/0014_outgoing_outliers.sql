-- An outgoing event that was an outlier before has an older nid than its turn, which is event_nid.
ALTER TABLE outgoing_events ADD COLUMN outlier_nid BIGINT;
