"""Names of the event types the server itself reads or writes."""

from typing import Final

ALIASES: Final = "m.room.aliases"
AVATAR: Final = "m.room.avatar"
CANONICAL_ALIAS: Final = "m.room.canonical_alias"
CREATE: Final = "m.room.create"
ENCRYPTED: Final = "m.room.encrypted"
ENCRYPTION: Final = "m.room.encryption"
GUEST_ACCESS: Final = "m.room.guest_access"
HISTORY_VISIBILITY: Final = "m.room.history_visibility"
JOIN_RULES: Final = "m.room.join_rules"
MEMBER: Final = "m.room.member"
MESSAGE: Final = "m.room.message"
NAME: Final = "m.room.name"
PINNED_EVENTS: Final = "m.room.pinned_events"
POLICY: Final = "m.room.policy"
POWER_LEVELS: Final = "m.room.power_levels"
REACTION: Final = "m.reaction"
REDACTION: Final = "m.room.redaction"
RETENTION: Final = "m.room.retention"
SERVER_ACL: Final = "m.room.server_acl"
SPACE_CHILD: Final = "m.space.child"
SPACE_PARENT: Final = "m.space.parent"
STICKER: Final = "m.sticker"
THIRD_PARTY_INVITE: Final = "m.room.third_party_invite"
TOMBSTONE: Final = "m.room.tombstone"
DUMMY: Final = "org.matrix.dummy_event"
"""Follows all heads of a forked room, so that they become one. Nobody is shown it."""
TOPIC: Final = "m.room.topic"

# Types of account data.
DIRECT: Final = "m.direct"
FULLY_READ: Final = "m.fully_read"
IGNORED_USER_LIST: Final = "m.ignored_user_list"
INVITE_PERMISSION_CONFIG: Final = "m.invite_permission_config"
MARKED_UNREAD: Final = "m.marked_unread"
PUSH_RULES: Final = "m.push_rules"
TAG: Final = "m.tag"

# Ephemeral types.
PRESENCE: Final = "m.presence"
RECEIPT: Final = "m.receipt"
TYPING: Final = "m.typing"

# Room types, in `content.type` of the create event.
SPACE: Final = "m.space"
