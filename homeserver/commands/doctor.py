"""`postroom doctor`: is everything around the server as it must be?

Each check looks at one thing from outside, never changes anything, and says what to do. Checks run in this
process with blocking calls: the server need not run, and nothing here slows it down when it does.
"""

import ctypes
import json
import shutil
import socket
import sqlite3
import ssl
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click

from homeserver.commands.findings import Finding, print_finding
from homeserver.commands.options import config_option, read_config
from homeserver.config import Config
from homeserver.runtime.migrations import read_migrations
from homeserver.storage import MIGRATIONS

TIMEOUT_SECONDS = 10
LEAST_FREE_BYTES = 1 << 30
LEAST_CERTIFICATE_DAYS = 14
GREATEST_CLOCK_OFFSET_SECONDS = 5
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
MAX_ANSWER_BYTES = 65_536


@dataclass(frozen=True)
class Fetched:
    body: bytes
    date: float | None


@click.command(short_help="See what keeps the server from being well or being found.")
@config_option
@click.argument("server", required=False)
def doctor(config_path: Path, server: str | None) -> None:
    """Check name, well-known, TLS, clock, database and disk; say what to repair.

    With the name of another SERVER: check whether this server and that one can reach and believe each other.
    With this server's own name: check whether the world finds it.

    Exits with 1 when something must be repaired. Warnings alone do not count.
    """
    config = read_config(config_path)
    failures: list[Finding] = []

    def tell(finding: Finding) -> None:
        print_finding(finding)
        if finding.verdict == "fail":
            failures.append(finding)

    if server is not None:
        # Brings in most of the server, which the other checks do without.
        from homeserver.commands.doctor_federation import examine  # noqa: PLC0415

        examine(config, server, tell)
    else:
        for check in CHECKS:
            for finding in check(config):
                tell(finding)
    sys.exit(1 if failures else 0)


def check_running(config: Config) -> Iterator[Finding]:
    """Does it answer where it is to listen? The other checks need no running server."""
    listener = next((each for each in config.listeners if "client" in each.apis), None)
    if listener is None:
        yield Finding("server", "warn", "no listener serves clients", "Add `client` to the apis of one.")
        return
    url = listener.urls()[0]
    try:
        fetch(f"{url}/_matrix/client/versions", any_certificate=True)
    except (OSError, ValueError) as error:
        yield Finding("server", "warn", f"does not answer at {url}: {reason(error)}", "postroom serve")
    else:
        yield Finding("server", "ok", f"answers at {url}")


def check_name(config: Config) -> Iterator[Finding]:
    """Other servers and clients find us by this name, unless a well-known file sends them elsewhere."""
    host = config.server_host
    if config.is_local:
        yield Finding("name", "skip", f"{host} means this machine: only programs on it can reach the server")
        return
    addresses = resolve(host)
    if addresses:
        yield Finding("name", "ok", f"{host} is at {', '.join(addresses)}")
    else:
        advice = f"Add an A or AAAA record for {host} where its domain is administered."
        yield Finding("name", "fail", f"{host} cannot be resolved", advice)


def resolve(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({str(info[4][0]) for info in found})


def check_well_known(config: Config) -> Iterator[Finding]:
    """`client` sends clients to public_url, `server` sends other servers."""
    if config.is_local:
        yield Finding("well-known", "skip", "not asked for by anyone on this machine")
        return
    expectations: list[tuple[str, Callable[[Config, object], str]]] = [("client", wrong_client_file)]
    if config.federation.enabled:
        expectations.append(("server", wrong_server_file))
    for kind, what_is_wrong in expectations:
        url = f"https://{config.server_name}/.well-known/matrix/{kind}"
        try:
            problem = what_is_wrong(config, json.loads(fetch(url).body))
        except (OSError, ValueError) as error:
            problem = f"cannot be read: {reason(error)}"
        if problem:
            advice = (
                "Let the web server of that name pass /.well-known/matrix/ on to Postroom, which answers it."
            )
            yield Finding("well-known", "warn", f"{url} {problem}", advice)
        else:
            yield Finding("well-known", "ok", url)


def wrong_client_file(config: Config, content: object) -> str:
    homeserver = content.get("m.homeserver") if isinstance(content, dict) else None
    url = homeserver.get("base_url") if isinstance(homeserver, dict) else None
    if not isinstance(url, str):
        return "names no m.homeserver.base_url"
    if url.rstrip("/") != config.client_url.rstrip("/"):
        return f"sends clients to {url}, not to {config.client_url}"
    return ""


def wrong_server_file(_config: Config, content: object) -> str:
    name = content.get("m.server") if isinstance(content, dict) else None
    return "" if isinstance(name, str) and name else "names no m.server"


def check_tls(config: Config) -> Iterator[Finding]:
    """The certificate the world sees at public_url, and those of our own listeners."""
    for listener in config.listeners:
        if listener.tls is not None:
            yield from check_certificate_file(listener.tls.certificate, listener.tls.key)
    target = urlsplit(config.client_url)
    if target.scheme != "https":
        yield Finding("TLS", "skip" if config.is_local else "warn", f"{config.client_url} is not https")
        return
    host = target.hostname or ""
    try:
        days = days_left_at(host, target.port or 443)
    except OSError as error:
        advice = "Clients refuse such a server: check the certificate chain and that it names this host."
        if not isinstance(error, ssl.SSLError):
            advice = "Clients look for the server there, unless `public_url` says another place."
        yield Finding("TLS", "fail", f"{config.client_url}: {reason(error)}", advice)
        return
    yield expiry_finding(f"certificate of {host}", days)


def check_certificate_file(certificate: Path, key: Path) -> Iterator[Finding]:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:
        advice = "Both must be PEM files the server may read, and belong together."
        yield Finding("TLS", "fail", f"{certificate} with {key}: {reason(error)}", advice)
    else:
        yield Finding("TLS", "ok", f"{certificate} fits {key}")


def days_left_at(host: str, port: int) -> float:
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as plain,
        ssl.create_default_context().wrap_socket(plain, server_hostname=host) as connection,
    ):
        certificate = connection.getpeercert() or {}
    expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return (expires - time.time()) / 86_400


def expiry_finding(subject: str, days: float) -> Finding:
    if days < LEAST_CERTIFICATE_DAYS:
        return Finding("TLS", "warn", f"{subject} expires in {days:.0f} days", "Renew it, and automate that.")
    return Finding("TLS", "ok", f"{subject} is good for {days:.0f} more days")


def check_clock(config: Config) -> Iterator[Finding]:
    """Times of events come from this clock; a wrong one misorders rooms and invalidates keys."""
    if not kernel_clock_is_synchronised():
        advice = "Run a time service, such as systemd-timesyncd or chrony."
        yield Finding("clock", "warn", "nothing keeps this machine's clock synchronised", advice)
        return
    if config.is_local:
        yield Finding("clock", "ok", "synchronised")
        return
    try:
        theirs = fetch(config.client_url + "/_matrix/client/versions").date
    except (OSError, ValueError):
        theirs = None
    offset = 0.0 if theirs is None else abs(time.time() - theirs)
    if offset > GREATEST_CLOCK_OFFSET_SECONDS:
        yield Finding(
            "clock", "warn", f"{offset:.0f} s away from that of {urlsplit(config.client_url).hostname}"
        )
    else:
        yield Finding("clock", "ok", "synchronised")


def kernel_clock_is_synchronised() -> bool:
    """What adjtimex(2) says; true where there is no such call."""
    try:
        return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) != TIME_ERROR)
    except (OSError, AttributeError):
        return True


def check_database(config: Config) -> Iterator[Finding]:
    """Can it be reached and written to, and is it of this version?"""
    file = config.sqlite_file
    if file is not None and not file.exists():
        yield Finding(
            "database", "warn", f"{file} does not exist yet", "The server makes it at its first start."
        )
        return
    shown, newest = without_password(config.database), read_migrations(MIGRATIONS)[-1].number
    try:
        version = newest_in_sqlite(file) if file is not None else newest_in_postgresql(config.database)
    except Exception as error:  # of whichever driver
        yield Finding(
            "database", "fail", f"{shown}: {reason(error)}", "Is it there, and is nothing holding it?"
        )
        return
    if version is None:
        yield Finding(
            "database", "warn", f"{shown} is empty", "The server makes its tables at its first start."
        )
    elif version > newest:
        advice = "Install that version again: there is no way back."
        yield Finding("database", "fail", f"{shown} was written by a newer version of Postroom", advice)
    else:
        upgrade = "" if version == newest else f", will be brought to {newest} at the next start"
        yield Finding("database", "ok", f"{shown}, schema {version}{upgrade}")


def newest_in_sqlite(file: Path) -> int | None:
    with closing(
        sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=TIMEOUT_SECONDS)
    ) as database:
        database.execute("BEGIN IMMEDIATE")  # fails where nobody can write
        return newest_migration(lambda sql: database.execute(sql).fetchone())


def newest_in_postgresql(url: str) -> int | None:
    import psycopg2  # noqa: PLC0415 - only those who use it need it

    with (
        closing(psycopg2.connect(url, connect_timeout=TIMEOUT_SECONDS)) as database,
        database.cursor() as cursor,
    ):

        def row(sql: str) -> tuple[Any, ...] | None:
            cursor.execute(sql)
            return cursor.fetchone()

        return newest_migration(row)


def newest_migration(row: Callable[[str], tuple[Any, ...] | None]) -> int | None:
    """None: the database has no tables of ours yet."""
    try:
        found = row("SELECT MAX(number) FROM applied_migrations")
    except Exception as error:  # of whichever driver
        if "applied_migrations" in str(error):
            return None
        raise
    return None if found is None or found[0] is None else int(found[0])


def without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()


def check_disk(config: Config) -> Iterator[Finding]:
    """Room for the database and for media, and a signing key that only the server's account can read."""
    for folder in sorted({config.data_dir, config.media.path}):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < LEAST_FREE_BYTES:
            yield Finding(
                "disk", "fail", f"{folder}: only {megabytes(free)} free", "Postroom needs at least 1 GiB."
            )
        else:
            yield Finding("disk", "ok", f"{folder}: {megabytes(free)} free")
    yield check_signing_key(config.signing_key)


def check_signing_key(path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return Finding("key", "warn", f"{path}: {reason(error)}", "The server makes one at its first start.")
    if mode & 0o077:
        return Finding("key", "fail", f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
    return Finding("key", "ok", f"{path} is private")


def megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def fetch(url: str, *, any_certificate: bool = False) -> Fetched:
    """GET; raises OSError for a network, TLS or HTTP failure. `any_certificate`: for our own at 127.0.0.1."""
    request = urllib.request.Request(url, headers={"User-Agent": "postroom-doctor"})  # noqa: S310 built above
    context = ssl._create_unverified_context() if any_certificate else None  # noqa: S323
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context) as answer:  # noqa: S310 as above
        date = answer.headers["Date"]
        return Fetched(
            answer.read(MAX_ANSWER_BYTES), parsedate_to_datetime(date).timestamp() if date else None
        )


def reason(error: Exception) -> str:
    """What a person wants to read of an exception: URLError wraps the reason, OSError adds a number."""
    inner = error.reason if type(error) is urllib.error.URLError else error
    return str(getattr(inner, "strerror", None) or inner).strip().partition("\n")[0]


CHECKS = (
    check_running, check_name, check_well_known, check_tls, check_clock, check_database, check_disk
)  # fmt: skip
