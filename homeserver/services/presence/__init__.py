"""Who is online, here and elsewhere, and who is told."""
