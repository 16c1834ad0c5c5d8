"""Other people's servers: one method per call this server makes to them."""
