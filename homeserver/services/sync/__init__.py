"""What changed for a user: /sync, and the waiting for it."""
