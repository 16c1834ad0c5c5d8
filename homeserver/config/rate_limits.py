"""How often people may do what costs something. One field is one limit."""

from dataclasses import dataclass

from homeserver.runtime.settings import BadSetting


@dataclass(frozen=True)
class Limit:
    """On average so many a second, and at most `burst` at once."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if self.per_second <= 0:
            raise BadSetting("per_second", "must be more than 0; `off` instead of the section lifts it")
        if self.burst < 1:
            raise BadSetting("burst", "must be at least 1; `off` instead of the section lifts it")


@dataclass(frozen=True)
class RateLimits:
    """Counted per user where somebody is signed in, otherwise per address. None: no limit.

    A route names its limit by the field's name.
    """

    enabled: bool = True
    messages: Limit | None = Limit(2, 30)
    room_creations: Limit | None = Limit(0.1, 10)
    joins: Limit | None = Limit(0.5, 20)
    invites: Limit | None = Limit(0.5, 20)
    third_party_invites: Limit | None = Limit(0.05, 10)
    membership_changes: Limit | None = Limit(1, 30)
    registration_requests: Limit | None = Limit(1, 20)
    registrations: Limit | None = Limit(0.1, 5)
    registration_token_checks: Limit | None = Limit(0.1, 5)
    logins: Limit | None = Limit(0.2, 10)
    logins_per_account: Limit | None = Limit(0.2, 10)
    failed_logins: Limit | None = Limit(0.1, 5)
    account_changes: Limit | None = Limit(0.1, 10)
    profile_changes: Limit | None = Limit(0.5, 10)
    presence: Limit | None = Limit(1, 10)
    typing_notifications: Limit | None = Limit(2, 30)
    receipts: Limit | None = Limit(5, 100)
    personal_settings: Limit | None = Limit(5, 100)
    thread_lists: Limit | None = Limit(5, 50)
    spaces: Limit | None = Limit(2, 30)
    mutual_rooms: Limit | None = Limit(2, 30)
    reports: Limit | None = Limit(0.05, 10)
    push_rules: Limit | None = Limit(5, 100)
    uploads: Limit | None = Limit(2, 20)
    downloads: Limit | None = Limit(20, 200)
    federation_requests: Limit | None = Limit(200, 2000)
    invites_from_server: Limit | None = Limit(1, 100)
    invites_into_room: Limit | None = Limit(0.3, 30)
    invites_to_user: Limit | None = Limit(0.02, 20)
    unknown_servers: Limit | None = Limit(5, 100)
    remote_lookups: Limit | None = Limit(1, 30)
    third_party_bindings: Limit | None = Limit(1, 20)
    notary_queries: Limit | None = Limit(2, 50)

    def by_name(self) -> dict[str, Limit | None]:
        """Every limit; none of them is on unless `enabled`."""
        limits = {name: value for name, value in vars(self).items() if name != "enabled"}
        return limits if self.enabled else dict.fromkeys(limits)
