"""Postroom: a Matrix homeserver in which mail, calendars and chat over mail are rooms."""

__version__ = "0.1.0"
