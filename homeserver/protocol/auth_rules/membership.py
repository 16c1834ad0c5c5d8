"""The rules for m.room.member: join, restricted join, invite, third-party invite, leave, ban, knock."""

from collections.abc import Mapping

from homeserver.protocol.auth_rules.power_levels import CREATE_KEY, PowerLevels, is_creator
from homeserver.protocol.errors import AuthFailure
from homeserver.protocol.event_types import JOIN_RULES, MEMBER, THIRD_PARTY_INVITE
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.ids import domain_of
from homeserver.protocol.json_values import Json
from homeserver.protocol.signatures import signing_key_ids
from homeserver.protocol.third_party_invites import keys_that_signed


def check_member(event: Event, state: Mapping[StateKey, Event], levels: PowerLevels) -> None:
    """The rule for m.room.member. The state must hold the create event. Raises AuthFailure."""
    _MemberCheck(event, state, levels).check()


class _MemberCheck:
    def __init__(self, event: Event, state: Mapping[StateKey, Event], levels: PowerLevels) -> None:
        self.event = event
        self.state = state
        self.levels = levels
        self.version = event.version
        # Restricted joins brought a rule about signatures before those for each membership.
        self.shift = 1 if event.version.restricted else 0

    def check(self) -> None:
        event = self.event
        if event.state_key is None or "membership" not in event.content:
            raise self._refusal("1", "A membership needs a state key and a membership")
        self.target = event.state_key
        self.sender_membership = self._membership_of(event.sender)
        self.target_membership = self._membership_of(self.target)
        if self.version.restricted:
            self._check_authoriser_signed()
        match event.content["membership"]:
            case "join":
                self._check_join(f"{2 + self.shift}")
            case "invite":
                self._check_invite(f"{3 + self.shift}")
            case "leave":
                self._check_leave(f"{4 + self.shift}")
            case "ban":
                self._check_ban(f"{5 + self.shift}")
            case "knock" if self.version.knock:
                self._check_knock(f"{6 + self.shift}")
            case _:
                number = 6 + self.shift + (1 if self.version.knock else 0)
                raise self._refusal(f"{number}", "The membership is unknown")

    def _check_authoriser_signed(self) -> None:
        if "join_authorised_via_users_server" not in self.event.content:
            return
        authoriser = self.event.content["join_authorised_via_users_server"]
        if not isinstance(authoriser, str) or ":" not in authoriser:
            raise self._refusal("2.1", "join_authorised_via_users_server must be a user ID")
        if not signing_key_ids(self.event.pdu, domain_of(authoriser)):
            raise self._refusal("2.1", f"{domain_of(authoriser)} has not signed the join")

    def _check_join(self, rule: str) -> None:
        event, create = self.event, self.state[CREATE_KEY]
        if event.prev_event_ids == (create.event_id,) and self._is_first_member(create):
            return
        if event.sender != self.target:
            raise self._refusal(f"{rule}.2", f"{event.sender} cannot join for {self.target}")
        if self.sender_membership == "ban":
            raise self._refusal(f"{rule}.3", f"{event.sender} is banned")
        join_rule = self._join_rule()
        is_in = self.target_membership in ("join", "invite")
        if join_rule == "public":
            return
        if join_rule == "invite" or (join_rule == "knock" and self.version.knock):
            if is_in:
                return
        elif self._is_restricted(join_rule):
            if not is_in:
                self._check_authoriser(f"{rule}.5.2")
            return
        last = f"{rule}.7" if self.version.restricted else f"{rule}.6"
        raise self._refusal(last, f"{event.sender} is not invited, and the join rule is {join_rule}")

    def _is_first_member(self, create: Event) -> bool:
        if self.version.creator_in_content:
            return is_creator(create, self.target)
        return create.sender == self.target

    def _is_restricted(self, join_rule: Json) -> bool:
        if join_rule == "restricted":
            return self.version.restricted
        return join_rule == "knock_restricted" and self.version.knock_restricted

    def _check_authoriser(self, rule: str) -> None:
        authoriser = self.event.content.get("join_authorised_via_users_server")
        if not isinstance(authoriser, str):
            raise self._refusal(rule, "Nobody in the room has authorised the join")
        if self._membership_of(authoriser) != "join":
            raise self._refusal(rule, f"{authoriser}, who authorised the join, is not in the room")
        if self.levels.of_user(authoriser) < self.levels.to_invite:
            raise self._refusal(rule, f"{authoriser}, who authorised the join, may not invite")

    def _check_invite(self, rule: str) -> None:
        event = self.event
        if "third_party_invite" in event.content:
            self._check_third_party_invite(f"{rule}.1")
            return
        if self.sender_membership != "join":
            raise self._refusal(f"{rule}.2", f"{event.sender} is not in the room")
        if self.target_membership in ("join", "ban"):
            raise self._refusal(f"{rule}.3", f"{self.target} is in the room or banned from it")
        if self.levels.of_user(event.sender) < self.levels.to_invite:
            raise self._refusal(f"{rule}.5", f"Inviting needs power level {self.levels.to_invite}")

    def _check_third_party_invite(self, rule: str) -> None:
        if self.target_membership == "ban":
            raise self._refusal(f"{rule}.1", f"{self.target} is banned")
        invite = self.event.content["third_party_invite"]
        signed = invite.get("signed") if isinstance(invite, dict) else None
        if not isinstance(signed, dict):
            raise self._refusal(f"{rule}.2", "The third-party invite is not signed")
        token = signed.get("token")
        if "mxid" not in signed or not isinstance(token, str):
            raise self._refusal(f"{rule}.3", "The third-party invite lacks mxid or token")
        if signed["mxid"] != self.target:
            raise self._refusal(f"{rule}.4", f"The third-party invite is not for {self.target}")
        offer = self.state.get((THIRD_PARTY_INVITE, token))
        if offer is None:
            raise self._refusal(f"{rule}.5", "The room has no third-party invite with this token")
        if offer.sender != self.event.sender:
            raise self._refusal(f"{rule}.6", f"The third-party invite was not made by {self.event.sender}")
        if not any(keys_that_signed(signed, offer.content)):
            raise self._refusal(f"{rule}.8", "No key of the third-party invite has signed it")

    def _check_leave(self, rule: str) -> None:
        event, levels = self.event, self.levels
        if event.sender == self.target:
            present = ("invite", "join", "knock") if self.version.knock else ("invite", "join")
            if self.sender_membership not in present:
                raise self._refusal(f"{rule}.1", f"{event.sender} is not in the room")
            return
        if self.sender_membership != "join":
            raise self._refusal(f"{rule}.2", f"{event.sender} is not in the room")
        own = levels.of_user(event.sender)
        if self.target_membership == "ban" and own < levels.to_ban:
            raise self._refusal(f"{rule}.3", f"Lifting a ban needs power level {levels.to_ban}")
        if own < levels.to_kick or levels.of_user(self.target) >= own:
            raise self._refusal(f"{rule}.5", f"{event.sender} may not remove {self.target}")

    def _check_ban(self, rule: str) -> None:
        event, levels = self.event, self.levels
        if self.sender_membership != "join":
            raise self._refusal(f"{rule}.1", f"{event.sender} is not in the room")
        own = levels.of_user(event.sender)
        if own < levels.to_ban or levels.of_user(self.target) >= own:
            raise self._refusal(f"{rule}.3", f"{event.sender} may not ban {self.target}")

    def _check_knock(self, rule: str) -> None:
        event, join_rule = self.event, self._join_rule()
        if join_rule != "knock" and not (join_rule == "knock_restricted" and self.version.knock_restricted):
            raise self._refusal(f"{rule}.1", f"The room does not take knocks: its join rule is {join_rule}")
        if event.sender != self.target:
            raise self._refusal(f"{rule}.2", f"{event.sender} cannot knock for {self.target}")
        if self.sender_membership in ("ban", "invite", "join"):
            raise self._refusal(f"{rule}.4", f"{event.sender} is in the room, invited or banned")

    def _membership_of(self, user_id: str) -> Json:
        member = self.state.get((MEMBER, user_id))
        return "leave" if member is None else member.content.get("membership")

    def _join_rule(self) -> Json:
        """`invite` when the room has none."""
        join_rules = self.state.get((JOIN_RULES, ""))
        return "invite" if join_rules is None else join_rules.content.get("join_rule", "invite")

    def _refusal(self, rule: str, message: str) -> AuthFailure:
        return AuthFailure(f"{self.version.member_rule}.{rule}", message)
