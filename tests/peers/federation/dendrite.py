"""A real Dendrite: POSTROOM_DENDRITE names the folder of its programs, `dendrite` and `generate-keys`.

It is in no registry of packages, so nothing installs it: docs/architecture.md says how to build it.
"""

import json
import os
import subprocess
from pathlib import Path

from tests.peers.federation.servers import Peer

STORES = ("federation_api", "key_server", "media_api", "mscs", "relay_api", "room_server", "sync_api")


class NoDendrite(Exception):
    """It cannot be had here; the message says why."""


def dendrite_programs() -> Path:
    """The folder they are in. Raises NoDendrite."""
    named = os.environ.get("POSTROOM_DENDRITE")
    if not named:
        raise NoDendrite("a Dendrite: POSTROOM_DENDRITE names the folder with its programs")
    folder = Path(named)
    for program in ("dendrite", "generate-keys"):
        if not (folder / program).exists():
            raise NoDendrite(f"POSTROOM_DENDRITE: there is no {folder / program}")
    return folder


class DendritePeer(Peer):
    """On SQLite, without limits."""

    kind = "dendrite"

    def command(self) -> list[str]:
        return [
            "env", f"SSL_CERT_FILE={self.ca_file}",  # Go believes those it names
            str(dendrite_programs() / "dendrite"), "--config", str(self.config),
            "--http-bind-address", f"{self.host}:{self.port}",
            "--https-bind-address", f"{self.host}:{self.behind}",
            "--tls-cert", str(self.certificate.certificate), "--tls-key", str(self.certificate.key),
            "--really-enable-open-registration",
        ]  # fmt: skip

    def config_text(self) -> str:
        key = self.folder / "matrix_key.pem"
        if not key.exists():
            command = [str(dendrite_programs() / "generate-keys"), "--private-key", str(key)]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        return json.dumps(self._settings(), indent=1)

    def _settings(self) -> dict[str, object]:
        stores: dict[str, dict[str, object]] = {name: {"database": self._store(name)} for name in STORES}
        extras: dict[str, dict[str, object]] = {
            "federation_api": {
                "send_max_retries": 16, "key_perspectives": [], "prefer_direct_fetch": True,
                "deny_networks": [], "allow_networks": ["0.0.0.0/0"],
            },
            "media_api": {"base_path": str(self.folder / "media"), "dynamic_thumbnails": True},
            "user_api": {"bcrypt_cost": 4, "account_database": self._store("accounts")},
        }  # fmt: skip
        return {
            "version": 2,
            "global": {
                "server_name": self.name,
                "private_key": str(self.folder / "matrix_key.pem"),
                "disable_federation": False,
                "presence": {"enable_inbound": True, "enable_outbound": True},
                "jetstream": {"storage_path": str(self.folder / "jetstream")},
                "metrics": {"enabled": False},
                "report_stats": {"enabled": False},
            },
            "client_api": {
                "registration_disabled": False, "guests_disabled": True,
                "rate_limiting": {"enabled": False},
            },
            "logging": [{"type": "std", "level": "info"}],
            **{name: {**stores.get(name, {}), **extras.get(name, {})} for name in {**stores, **extras}},
        }  # fmt: skip

    def _store(self, name: str) -> dict[str, object]:
        return {"connection_string": f"file:{self.folder}/{name}.db", "max_open_conns": 10}
