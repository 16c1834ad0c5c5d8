"""The stores of what belongs to one user: all tables of migration 0003."""

from dataclasses import dataclass, field

from homeserver.storage.account_data import AccountDataStore, FilterStore, PushRuleStore
from homeserver.storage.identifiers import Identifiers
from homeserver.storage.presence import PresenceStore
from homeserver.storage.push_actions import PushActionStore
from homeserver.storage.pushers import PusherStore
from homeserver.storage.receipts import ReceiptStore


@dataclass(frozen=True, slots=True)
class PersonalStores:
    """`personal_stores` makes one."""

    identifiers: Identifiers
    receipts: ReceiptStore
    push_actions: PushActionStore
    account_data: AccountDataStore = field(default_factory=AccountDataStore)
    filters: FilterStore = field(default_factory=FilterStore)
    push_rules: PushRuleStore = field(default_factory=PushRuleStore)
    pushers: PusherStore = field(default_factory=PusherStore)
    presence: PresenceStore = field(default_factory=PresenceStore)


def personal_stores(identifiers: Identifiers) -> PersonalStores:
    return PersonalStores(identifiers, ReceiptStore(identifiers), PushActionStore(identifiers))
