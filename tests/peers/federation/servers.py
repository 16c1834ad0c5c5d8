"""Servers that speak with one another: each on a loopback address of its own, named by it, with TLS.

A server's name is `127.0.0.N:PORT`; its federation listens there, or a proxy that can be cut does, and the
server listens behind it.
"""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from homeserver.storage.events import HIDDEN
from tests.peers.federation.synapse import synapse_python
from tests.support.certificates import Authority, Issued
from tests.support.server_process import Place, ServerProcess, free_port

POSTROOM = """\
server_name: {name}
data_dir: data
database: {database}
listeners:
  - {{port: {port}, addresses: [{host}], apis: [client, health]}}
  - port: {behind}
    addresses: [{host}]
    apis: [federation]
    tls: {{certificate: {certificate}, key: {key}}}
registration: {{mode: open}}
passwords: {{hash_passes: 1, hash_memory_kib: 64}}
rate_limits: {{enabled: false}}
federation:
  ca_file: {ca_file}
  allow_private_addresses: true
  presence: true
  trusted_key_servers: {notaries}
"""


class Verdict(IntEnum):
    """What a server makes of an event it keeps. Outliers are known, but have no place in the history."""

    ACCEPTED = 0
    REJECTED = 1
    SOFT_FAILED = 2
    OUTLIER = 3


class Kept(NamedTuple):
    """An event that a server keeps."""

    verdict: Verdict
    depth: int
    sender: str


UNLIMITED = {"per_second": 10_000, "burst_count": 10_000}


class Peer(ServerProcess):
    """`name` is its server name; its federation port is `behind`: the name's, unless a proxy stands there."""

    def __init__(
        self, folder: Path, authority: Authority, host: str, *, proxied: bool = False,
        database: str = "sqlite:///homeserver.db", place: Place | None = None, notaries: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.notaries = list(notaries)
        with (place or Place()).entered():
            self.public_port = free_port(host)
            self.behind = free_port(host) if proxied else self.public_port
        self.name = f"{host}:{self.public_port}"
        self.ca_file = authority.file
        self.certificate: Issued = authority.issue(host)
        super().__init__(folder, database=database, host=host, place=place)

    def kept(self, room: str) -> dict[str, Kept]:
        """All events it keeps of the room, by its database."""
        raise NotImplementedError


class PostroomPeer(Peer):
    """Ours, started as its owner would."""

    kind = "postroom"

    def config_text(self) -> str:
        return POSTROOM.format(
            name=self.name, host=self.host, port=self.port, behind=self.behind, database=self.database,
            certificate=self.certificate.certificate, key=self.certificate.key, ca_file=self.ca_file,
            notaries=json.dumps(self.notaries),
        )  # fmt: skip

    def kept(self, room: str) -> dict[str, Kept]:
        query = """
            SELECT e.event_id, e.status, e.raw FROM events AS e JOIN rooms ON rooms.nid = e.room_nid
            WHERE rooms.room_id = '{}'""".format(room.replace("'", "''"))
        if self.database.startswith("postgresql:"):
            with closing(psycopg2.connect(self.database)) as connection, connection.cursor() as cursor:
                cursor.execute(query)
                rows = cursor.fetchall()
        else:
            rows = _sqlite_rows(self.folder / "data" / self.database.removeprefix("sqlite:///"), query)
        pdus = ((event_id, status, json.loads(bytes(raw))) for event_id, status, raw in rows)
        return {
            event_id: Kept(
                Verdict.ACCEPTED if status == HIDDEN else Verdict(status), pdu["depth"], pdu["sender"]
            )
            for event_id, status, pdu in pdus
        }


class SynapsePeer(Peer):
    """Element's, on SQLite, without limits. The environment comes from `synapse_python`, which may raise."""

    kind = "synapse"

    def command(self) -> list[str]:
        return [str(synapse_python()), "-m", "synapse.app.homeserver", "-c", str(self.config)]

    def start(self, *, within: float = 90.0) -> None:
        super().start(within=within)

    def config_text(self) -> str:
        (self.folder / "log.yaml").write_text(json.dumps(_LOGGING))
        return json.dumps(self._settings(), indent=1)

    def kept(self, room: str) -> dict[str, Kept]:
        query = """
            SELECT e.event_id, e.outlier, e.rejection_reason IS NOT NULL OR EXISTS
                (SELECT 1 FROM rejections AS r WHERE r.event_id = e.event_id), j.internal_metadata,
                e.depth, e.sender
            FROM events AS e JOIN event_json AS j ON j.event_id = e.event_id WHERE e.room_id = '{}'"""
        found = {}
        rows = _sqlite_rows(self.folder / "synapse.db", query.format(room.replace("'", "''")))
        for event_id, is_outlier, is_rejected, metadata, depth, sender in rows:
            is_soft_failed = json.loads(metadata).get("soft_failed")
            verdict = (
                Verdict.REJECTED if is_rejected
                else Verdict.OUTLIER if is_outlier
                else Verdict.SOFT_FAILED if is_soft_failed
                else Verdict.ACCEPTED
            )  # fmt: skip
            found[event_id] = Kept(verdict, depth, sender)
        return found

    def _settings(self) -> dict[str, object]:
        folder = self.folder
        return {
            "server_name": self.name,
            "report_stats": False,
            "pid_file": str(folder / "synapse.pid"),
            "log_config": str(folder / "log.yaml"),
            "signing_key_path": str(folder / "signing.key"),
            "media_store_path": str(folder / "media"),
            "database": {"name": "sqlite3", "args": {"database": str(folder / "synapse.db")}},
            "listeners": [
                self._listener(self.port, "client", tls=False),
                self._listener(self.behind, "federation", tls=True),
            ],
            "tls_certificate_path": str(self.certificate.certificate),
            "tls_private_key_path": str(self.certificate.key),
            "federation_custom_ca_list": [str(self.ca_file)],
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            "trusted_key_servers": [{"server_name": name} for name in self.notaries],
            "suppress_key_server_warning": True,
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "registration_shared_secret": "federation tests",
            "macaroon_secret_key": "federation tests",
            "form_secret": "federation tests",
            "allow_public_rooms_over_federation": True,
            "allow_public_rooms_without_auth": True,
            "room_list_publication_rules": [{"action": "allow"}],
            "allow_per_room_profiles": True,
            "filter_timeline_limit": 10_000,
            "enable_authenticated_media": True,
            "bcrypt_rounds": 4,
            "caches": {"sync_response_cache_duration": "0s"},
            "federation": {
                "destination_min_retry_interval": "1s",
                "destination_max_retry_interval": "5s",
                "max_short_retry_delay": "1s",
                "max_long_retry_delay": "2s",
                "max_long_retries": 3,
                "client_timeout": "20s",
            },
            **_limits(),
        }

    def _listener(self, port: int, resource: str, *, tls: bool) -> dict[str, object]:
        return {
            "port": port,
            "type": "http",
            "tls": tls,
            "bind_addresses": [self.host],
            "resources": [{"names": [resource], "compress": False}],
        }


def _sqlite_rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def _limits() -> dict[str, object]:
    plain = (
        "rc_message", "rc_registration", "rc_registration_token_validity", "rc_admin_redaction",
        "rc_joins_per_room", "rc_third_party_invite", "rc_media_create", "rc_room_creation", "rc_reports",
        "rc_user_directory", "rc_profile", "rc_key_requests",
    )  # fmt: skip
    grouped = {
        "rc_login": ("address", "account", "failed_attempts"),
        "rc_joins": ("local", "remote"),
        "rc_invites": ("per_room", "per_user", "per_issuer"),
        "rc_3pid_validation": (),
        "rc_presence": ("per_user",),
    }
    federation = {
        "window_size": 1000, "sleep_limit": 100_000, "sleep_delay": 1, "reject_limit": 100_000,
        "concurrent": 50,
    }  # fmt: skip
    return {
        **dict.fromkeys(plain, UNLIMITED),
        **{name: dict.fromkeys(parts, UNLIMITED) if parts else UNLIMITED for name, parts in grouped.items()},
        "rc_federation": federation,
        "remote_media_download_per_second": "100M",
    }


_LOGGING = {
    "version": 1,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(request)s %(message)s"}},
    "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter", "request": ""}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "plain", "filters": ["context"]},
    },
    "root": {"level": "INFO", "handlers": ["console"]},
    "disable_existing_loggers": False,
}
