"""Who is this token? Begin sessions, refresh them, end them.

The tokens in use are in memory (`lookup_now`). Everything here that ends or changes a session drops its
tokens from there in the same step. https://spec.matrix.org/latest/client-server-api/#using-access-tokens
"""

from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from homeserver.protocol.errors import InvalidParam, MatrixError, TooLarge, UnknownToken, UserLocked
from homeserver.protocol.ids import DeviceId, UserId
from homeserver.protocol.requester import Requester
from homeserver.runtime.clock import Clock
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.known_tokens import Known, KnownTokens
from homeserver.services.accounts.tokens import hash_of, new_device_id, new_token
from homeserver.services.streams import Change, Streams
from homeserver.storage.account_stores import AccountStores
from homeserver.storage.sessions import AccessToken, PairHashes

MAX_DEVICE_NAME_BYTES = 255

DeviceCleaner = Callable[[Transaction, UserId, Sequence[DeviceId]], None]
"""Removes what else belongs to devices that are going: called in the transaction that removes them."""

Settle = Callable[[Transaction], None]
"""Uses up what entitles somebody to an action: called in the action's transaction, may raise."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long tokens of clients that refresh them live. Others' access tokens never expire."""

    access_ms: int = 60 * 60 * 1000
    refresh_ms: int | None = 180 * 24 * 60 * 60 * 1000


def check_device_name(name: str) -> None:
    """May a device be called this? Raises TooLarge, InvalidParam."""
    if "\0" in name:
        raise InvalidParam("The name of a device must not contain NUL")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_DEVICE_NAME_BYTES:
        raise TooLarge(f"The name of a device has at most {MAX_DEVICE_NAME_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class DeviceWish:
    """What a client asks for when it logs in."""

    device_id: DeviceId | None = None
    display_name: str | None = None
    refreshes: bool = False

    def __post_init__(self) -> None:
        """Raises TooLarge, InvalidParam."""
        if self.display_name is not None:
            check_device_name(self.display_name)


class Owner(NamedTuple):
    """Whose session it is, and what they are."""

    user_id: UserId
    is_guest: bool = False
    is_admin: bool = False
    is_suspended: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair of tokens as the client gets it. Without a refresh token the access token never expires."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in_ms: int | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A session for a device, as the client gets it."""

    user_id: UserId
    device_id: DeviceId
    tokens: Tokens


class Removed(NamedTuple):
    """Devices that are no more."""

    user_id: UserId
    device_ids: Sequence[DeviceId]


class Sessions:
    """The sessions of local users."""

    def __init__(
        self,
        database: Database,
        stores: AccountStores,
        streams: Streams,
        clock: Clock,
        *,
        lifetimes: Lifetimes,
        known_tokens: int = 50_000,
    ) -> None:
        self._database = database
        self._stores = stores
        self._streams = streams
        self._clock = clock
        self._lifetimes = lifetimes
        self._known = KnownTokens(known_tokens)
        self._cleaners: list[DeviceCleaner] = []

    def also_clean(self, cleaner: DeviceCleaner) -> None:
        """Call `cleaner` whenever devices are removed."""
        self._cleaners.append(cleaner)

    def now_ms(self) -> int:
        """The time by which sessions live."""
        return self._clock.now_ms()

    # Who is this?

    def find(self, token: str) -> Requester | Coroutine[object, None, Requester]:
        """`lookup_now`, or else the coroutine of `lookup`."""
        return self.lookup_now(token) or self.lookup(token)

    def lookup_now(self, token: str) -> Requester | None:
        """The token's owner, if that is known without asking the database."""
        known = self._known.get(hash_of(token))
        if known is None or (known.expires_ms is not None and known.expires_ms <= self._clock.now_ms()):
            return None
        return known.requester

    async def lookup(self, token: str) -> Requester:
        """The token's owner. Raises UnknownToken, with soft_logout when the session outlives the token."""
        known = self.lookup_now(token)
        if known is not None:
            return known
        token_hash, drops = hash_of(token), self._known.drops
        found = _valid(await self._database.look_up(self._stores.sessions.of_access_token, token_hash))
        if not found.link.is_current:
            found = _valid(await self._database.write(self._make_current, token_hash))
        elif drops == self._known.drops:
            self._known.put(token_hash, Known(_requester(found), found.expires_ms))
        if found.expires_ms is not None and found.expires_ms <= self._clock.now_ms():
            raise UnknownToken("This access token has expired: refresh it", soft_logout=True)
        return _requester(found)

    # Beginning

    def grant(self, user_id: UserId, wish: DeviceWish) -> Grant:
        """Draw tokens for a session that `begin` will open."""
        return Grant(user_id, wish.device_id or new_device_id(), self._new_tokens(refreshes=wish.refreshes))

    def begin(self, txn: Transaction, owner: Owner, grant: Grant, *, display_name: str | None) -> None:
        """Open the session. A device that exists keeps its name and loses its former session."""
        stores, now_ms = self._stores, self._clock.now_ms()
        is_new = stores.devices.add(
            txn, owner.user_id, grant.device_id, display_name=display_name, now_ms=now_ms
        )
        if not is_new:
            former = stores.sessions.ids_of(txn, owner.user_id, [grant.device_id])
            txn.after_commit(self._known.drop, stores.sessions.end(txn, former))
        hashes = self._hashes(grant.tokens)
        session_id = stores.sessions.start(txn, owner.user_id, grant.device_id, hashes, now_ms=now_ms)
        requester = Requester(
            owner.user_id,
            grant.device_id,
            session_id,
            is_guest=owner.is_guest,
            is_admin=owner.is_admin,
            is_suspended=owner.is_suspended,
        )
        txn.after_commit(self._known.put, hashes.access_hash, Known(requester, hashes.access_expires_ms))

    # Going on

    async def refresh(self, refresh_token: str) -> Tokens:
        """A new pair for an old one, which stays good until the new one is used.

        A pair that was replaced by one in use, and is used again, was stolen or restored from a copy: the
        session ends, softly, so that its owner keeps the device's keys. Raises UnknownToken, UserLocked.
        """
        refresh_hash = hash_of(refresh_token)
        if await self._database.look_up(self._stores.sessions.of_refresh_token, refresh_hash) is None:
            raise UnknownToken("This refresh token is unknown: log in again")
        tokens = self._new_tokens(refreshes=True)
        refused = await self._database.write(self._refresh, refresh_hash, self._hashes(tokens))
        if refused is not None:
            raise refused
        return tokens

    # Ending

    async def log_out(self, requester: Requester) -> None:
        """End the session and forget its device."""
        if requester.device_id is not None:
            await self.remove_devices(requester.user_id, [requester.device_id])

    async def log_out_everywhere(self, user_id: UserId, *, keep: DeviceId | None = None) -> None:
        """End all sessions of the user and forget all devices, but for one that may be kept."""
        await self._streams.write(self.remove_all_devices, device_list_change, user_id, keep)

    async def remove_devices(
        self, user_id: UserId, device_ids: Collection[DeviceId], settle: Settle | None = None
    ) -> None:
        """Forget devices and end their sessions. Those the user does not have are passed over.

        `settle` is called in the same transaction.
        """
        await self._streams.write(self._remove_devices, device_list_change, user_id, device_ids, settle)

    def remove_all_devices(
        self, txn: Transaction, position: int, user_id: UserId, keep: DeviceId | None = None
    ) -> Removed:
        """The transaction of `log_out_everywhere`, for those who do more in it."""
        device_ids = self._stores.devices.ids_of(txn, user_id)
        return self._remove_devices(txn, position, user_id, [one for one in device_ids if one != keep])

    def forget_tokens_of(self, txn: Transaction, user_id: UserId) -> None:
        """The user's standing has changed: look it up again when they next come."""
        txn.after_commit(self._known.drop, self._stores.sessions.access_hashes_of(txn, user_id))

    def _make_current(self, txn: Transaction, token_hash: bytes) -> AccessToken | None:
        """The first use of a refreshed token makes those before it void."""
        found = self._stores.sessions.of_access_token(txn, token_hash)
        if found is not None and found.link.is_next:
            txn.after_commit(self._known.drop, self._stores.sessions.make_current(txn, found.link))
            txn.after_commit(self._known.put, token_hash, Known(_requester(found), found.expires_ms))
        return found

    def _refresh(self, txn: Transaction, refresh_hash: bytes, hashes: PairHashes) -> MatrixError | None:
        """Extends the session, or says why not: an error that was raised would undo what is done here."""
        store = self._stores.sessions
        found = store.of_refresh_token(txn, refresh_hash)
        if found is None:
            return UnknownToken("This refresh token is unknown: log in again")
        if found.is_locked:
            return UserLocked()
        if found.link.is_next:
            txn.after_commit(self._known.drop, store.make_current(txn, found.link))
        elif not found.link.is_current:
            txn.after_commit(self._known.drop, store.end(txn, [found.link.session_id]))
            return UnknownToken("This refresh token was replaced by another", soft_logout=True)
        if found.expires_ms is not None and found.expires_ms <= self._clock.now_ms():
            return UnknownToken("This refresh token has expired: log in again", soft_logout=True)
        store.extend(txn, found.link, hashes)
        return None

    def _remove_devices(
        self,
        txn: Transaction,
        position: int,
        user_id: UserId,
        device_ids: Collection[DeviceId],
        settle: Settle | None = None,
    ) -> Removed:
        if settle is not None:
            settle(txn)
        stores = self._stores
        removed = stores.devices.remove(txn, user_id, device_ids)
        if removed:
            sessions = stores.sessions.ids_of(txn, user_id, removed)
            txn.after_commit(self._known.drop, stores.sessions.end(txn, sessions))
            stores.devices.changed(txn, user_id, removed, position=position)
            for clean in self._cleaners:
                clean(txn, user_id, removed)
        return Removed(user_id, removed)

    def _new_tokens(self, *, refreshes: bool) -> Tokens:
        if not refreshes:
            return Tokens(new_token("psa"), None, None)
        return Tokens(new_token("psa"), new_token("psr"), self._lifetimes.access_ms)

    def _hashes(self, tokens: Tokens) -> PairHashes:
        access_hash = hash_of(tokens.access_token)
        if tokens.refresh_token is None or tokens.expires_in_ms is None:
            return PairHashes(access_hash, None, None, None)
        now_ms, refresh_ms = self._clock.now_ms(), self._lifetimes.refresh_ms
        refresh_expires_ms = None if refresh_ms is None else now_ms + refresh_ms
        return PairHashes(
            access_hash, now_ms + tokens.expires_in_ms, hash_of(tokens.refresh_token), refresh_expires_ms
        )


def _valid(found: AccessToken | None) -> AccessToken:
    if found is None:
        raise UnknownToken
    if not (found.link.is_current or found.link.is_next):
        raise UnknownToken("This access token was replaced by another", soft_logout=True)
    return found


def _requester(found: AccessToken) -> Requester:
    return Requester(
        found.user_id,
        found.device_id,
        found.link.session_id,
        is_guest=found.is_guest,
        is_admin=found.is_admin,
        is_locked=found.is_locked,
        is_suspended=found.is_suspended,
    )


def device_list_change(removed: Removed) -> Change | None:
    """What others are told when devices went."""
    return Change("device_lists", users=(removed.user_id,)) if removed.device_ids else None
