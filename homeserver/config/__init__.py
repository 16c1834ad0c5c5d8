"""homeserver.yaml as frozen records, one module per section: the whole file is one `Config`.

Defaults stand in the fields; what a key means stands in homeserver.yaml.sample. `load` reports all mistakes
of a file at once.
"""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from homeserver.config import checks
from homeserver.config.accounts import Passwords, Registration, Sessions
from homeserver.config.federation import Federation
from homeserver.config.logging import Logging
from homeserver.config.media import Media
from homeserver.config.metrics import Metrics
from homeserver.config.presence import Presence
from homeserver.config.rate_limits import RateLimits
from homeserver.config.rooms import Rooms
from homeserver.config.secrets import secret
from homeserver.config.server import Listener, Support, Tls, parse_listen
from homeserver.protocol.ids import ServerName
from homeserver.runtime import settings
from homeserver.runtime.settings import BadSetting, setting

DEFAULT_LISTEN = "127.0.0.1:8008"
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Config:
    """The whole file. `load` returns it with absolute paths, and with `listen` turned into `listeners`."""

    server_name: ServerName = setting(check=checks.server_name)
    public_url: str | None = setting(None, check=checks.base_url)
    data_dir: Path = Path("data")
    signing_key: Path = Path("signing.key")
    listen: str | None = setting(None, check=parse_listen)
    listeners: tuple[Listener, ...] = ()
    database: str = secret(f"{SQLITE}postroom.db", check=checks.database_url)
    database_readers: int | None = setting(None, check=checks.between(1, 100))
    registration: Registration = setting(factory=Registration)
    passwords: Passwords = setting(factory=Passwords)
    sessions: Sessions = setting(factory=Sessions)
    rooms: Rooms = setting(factory=Rooms)
    media: Media = setting(factory=Media)
    presence: Presence = setting(factory=Presence)
    rate_limits: RateLimits = setting(factory=RateLimits)
    federation: Federation = setting(factory=Federation)
    logging: Logging = setting(factory=Logging)
    metrics: Metrics = setting(factory=Metrics)
    support: Support = setting(factory=Support)

    def __post_init__(self) -> None:
        if self.listen is not None and self.listeners:
            raise BadSetting("listen", "is the short form of `listeners`: give one of the two")

    def urls(self) -> list[str]:
        """Where a program on this machine reaches the server."""
        return [url for listener in self.listeners for url in listener.urls()]

    @property
    def client_url(self) -> str:
        """Where clients reach the server: what the operator says, else what follows from the name."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        if self.is_local:
            clients = [listener for listener in self.listeners if "client" in listener.apis]
            return (clients or self.listeners)[0].urls()[0]
        return f"https://{self.server_name}"

    @property
    def server_host(self) -> str:
        """The server name without port and brackets."""
        return urlsplit(f"//{self.server_name}").hostname or ""

    @property
    def is_local(self) -> bool:
        """Does the server name mean this machine, whoever says it?"""
        try:
            return ip_address(self.server_host).is_loopback
        except ValueError:
            return self.server_host == "localhost" or self.server_host.endswith(".localhost")

    @property
    def sqlite_file(self) -> Path | None:
        """The database's file, unless it is a PostgreSQL one."""
        return Path(unquote(self.database.removeprefix(SQLITE))) if self.database.startswith(SQLITE) else None


def load(path: Path) -> Config:
    """The configuration in the file. Raises OSError, or SettingsError with every mistake in it."""
    return parse(path.read_text("utf-8"), path)


def parse(text: str, path: Path) -> Config:
    """As `load`, for a text that stands in the file `path`."""
    config = settings.load(Config, text, str(path))
    data_dir = path.absolute().parent / config.data_dir
    return replace(
        config,
        data_dir=data_dir,
        signing_key=data_dir / config.signing_key,
        listen=None,
        listeners=_with_paths(config.listeners, data_dir) or (parse_listen(config.listen or DEFAULT_LISTEN),),
        database=_with_path(config.database, data_dir),
        media=replace(config.media, path=data_dir / config.media.path),
        federation=replace(config.federation, ca_file=_below(data_dir, config.federation.ca_file)),
        logging=replace(config.logging, file=_below(data_dir, config.logging.file)),
    )


def _below(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _with_path(database_url: str, folder: Path) -> str:
    if not database_url.startswith(SQLITE):
        return database_url
    return SQLITE + quote(str(folder / unquote(database_url.removeprefix(SQLITE))))


def _with_paths(listeners: tuple[Listener, ...], folder: Path) -> tuple[Listener, ...]:
    return tuple(
        listener if listener.tls is None else replace(listener, tls=_below_folder(listener.tls, folder))
        for listener in listeners
    )


def _below_folder(tls: Tls, folder: Path) -> Tls:
    return replace(tls, certificate=folder / tls.certificate, key=folder / tls.key)
