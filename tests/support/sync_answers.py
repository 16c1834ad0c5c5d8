"""An answer of /sync, as tests ask it."""

from collections.abc import Mapping
from typing import Any

StateEvents = dict[tuple[str, str], dict[str, Any]]


class SyncAnswer:
    """What changed. A room that is not there has an empty timeline, no state, nobody typing."""

    def __init__(self, json: Mapping[str, Any]) -> None:
        self.json = json
        self.next_batch: str = json["next_batch"]
        rooms = json.get("rooms", {})
        self.joined: dict[str, Any] = rooms.get("join", {})
        self.left: dict[str, Any] = rooms.get("leave", {})
        self.invites: dict[str, Any] = rooms.get("invite", {})
        self.knocks: dict[str, Any] = rooms.get("knock", {})

    @property
    def is_empty(self) -> bool:
        """Nothing but a token."""
        return set(self.json) == {"next_batch"}

    def room(self, room: str) -> dict[str, Any]:
        """Its part of `join` or `leave`."""
        return self.joined.get(room) or self.left.get(room) or {}

    def timeline(self, room: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.room(room).get("timeline", {}).get("events", [])
        return events

    def ids(self, room: str) -> list[str]:
        return [event["event_id"] for event in self.timeline(room)]

    def texts(self, room: str) -> list[str]:
        """Of the messages in the timeline."""
        return [event["content"]["body"] for event in self.timeline(room) if "body" in event["content"]]

    def is_limited(self, room: str) -> bool:
        return bool(self.room(room).get("timeline", {}).get("limited"))

    def prev_batch(self, room: str) -> str:
        return str(self.room(room)["timeline"]["prev_batch"])

    def state(self, room: str) -> StateEvents:
        """Before the timeline."""
        return self._state(room, "state")

    def state_after(self, room: str) -> StateEvents:
        return self._state(room, "state_after")

    def _state(self, room: str, name: str) -> StateEvents:
        events = self.room(room).get(name, {}).get("events", [])
        state = {(event["type"], event["state_key"]): event for event in events}
        assert len(state) == len(events), "One state key twice"
        return state

    def members(self, room: str) -> set[str]:
        """Whose memberships are in the state."""
        return {key for type_, key in self.state(room) if type_ == "m.room.member"}

    def known_state(self, room: str) -> StateEvents:
        """What a client has after applying state and timeline."""
        known = self.state(room)
        for event in self.timeline(room):
            if "state_key" in event:
                known[event["type"], event["state_key"]] = event
        return known

    def ephemeral(self, room: str, type_: str) -> Any:
        """The content of the room's one event of this type; None without one."""
        events = self.room(room).get("ephemeral", {}).get("events", [])
        contents = [event["content"] for event in events if event["type"] == type_]
        assert len(contents) < 2
        return contents[0] if contents else None

    def typing(self, room: str) -> set[str]:
        return set((self.ephemeral(room, "m.typing") or {}).get("user_ids", ()))

    def receipts(self, room: str) -> Any:
        return self.ephemeral(room, "m.receipt") or {}

    def room_account_data(self, room: str) -> dict[str, Any]:
        events = self.room(room).get("account_data", {}).get("events", [])
        return {event["type"]: event["content"] for event in events}

    @property
    def account_data(self) -> dict[str, Any]:
        events = self.json.get("account_data", {}).get("events", [])
        return {event["type"]: event["content"] for event in events}

    def summary(self, room: str) -> dict[str, Any]:
        summary: dict[str, Any] = self.room(room).get("summary", {})
        return summary

    def unread(self, room: str) -> tuple[int, int]:
        """Notifications and highlights."""
        counts = self.room(room)["unread_notifications"]
        return counts["notification_count"], counts["highlight_count"]

    def invite_state(self, room: str) -> StateEvents:
        """Of an invite or a knock."""
        part = self.invites.get(room, {}).get("invite_state") or self.knocks[room]["knock_state"]
        return {(event["type"], event["state_key"]): event for event in part["events"]}
