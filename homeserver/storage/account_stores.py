"""The stores that the account services share."""

from dataclasses import dataclass, field

from homeserver.storage.accounts import AccountStore
from homeserver.storage.devices import DeviceStore
from homeserver.storage.login_sessions import LoginSessionStore
from homeserver.storage.profiles import ProfileStore
from homeserver.storage.purpose_tokens import PurposeTokenStore
from homeserver.storage.registration_tokens import RegistrationTokenStore
from homeserver.storage.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class AccountStores:
    """All tables of migration 0001."""

    accounts: AccountStore = field(default_factory=AccountStore)
    sessions: SessionStore = field(default_factory=SessionStore)
    devices: DeviceStore = field(default_factory=DeviceStore)
    profiles: ProfileStore = field(default_factory=ProfileStore)
    login_sessions: LoginSessionStore = field(default_factory=LoginSessionStore)
    purpose_tokens: PurposeTokenStore = field(default_factory=PurposeTokenStore)
    registration_tokens: RegistrationTokenStore = field(default_factory=RegistrationTokenStore)
