"""homeserver.yaml becomes a Config, or a list of everything that is wrong with it."""

from pathlib import Path

import pytest

from homeserver.config import Config, load, parse
from homeserver.config.rate_limits import Limit
from homeserver.config.server import Listener, parse_listen
from homeserver.runtime.settings import SettingsError

WHERE = Path("/srv/postroom/homeserver.yaml")


def config(text: str, *, name: str = "example.org") -> Config:
    return parse(f"server_name: {name}\n{text}", WHERE)


def mistakes(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(SettingsError) as caught:
        parse(text, WHERE)
    return [(problem.line, problem.key, problem.message) for problem in caught.value.problems]


def test_a_server_name_is_enough() -> None:
    only_name = parse("server_name: example.org", WHERE)
    assert only_name.server_name == "example.org"
    assert only_name.registration.mode == "closed"
    assert only_name.urls() == ["http://127.0.0.1:8008"]


def test_relative_files_start_from_the_data_dir_and_that_from_the_file() -> None:
    found = config(
        "media: {path: pictures}\nlogging: {file: postroom.log}\nfederation: {ca_file: /etc/ca.pem}"
    )
    assert found.data_dir == Path("/srv/postroom/data")
    assert found.signing_key == Path("/srv/postroom/data/signing.key")
    assert found.database == "sqlite:////srv/postroom/data/postroom.db"
    assert found.media.path == Path("/srv/postroom/data/pictures")
    assert found.logging.file == Path("/srv/postroom/data/postroom.log")
    assert found.federation.ca_file == Path("/etc/ca.pem")


def test_a_sqlite_file_may_be_absolute_and_have_spaces() -> None:
    assert config("database: sqlite:////var/lib/post%20room.db").sqlite_file == Path("/var/lib/post room.db")
    assert config("data_dir: /my data").sqlite_file == Path("/my data/postroom.db")


def test_postgresql_has_no_file() -> None:
    found = config("database: postgresql://me:secret@127.0.0.1/hs")
    assert (found.database, found.sqlite_file) == ("postgresql://me:secret@127.0.0.1/hs", None)


def test_secrets_do_not_show_in_logs_of_a_config() -> None:
    found = config(
        "database: postgresql://me:hush-hush@h/x\nregistration: {shared_secret: hush-hush-hush-hush}\n"
        "metrics: {bearer_token: hush-hush}"
    )
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("text", "addresses", "port"),
    [
        ("127.0.0.1:8008", ("127.0.0.1",), 8008),
        ("localhost:80", ("127.0.0.1",), 80),
        ("[::1]:8448", ("::1",), 8448),
        ("*:443", ("0.0.0.0", "::"), 443),
    ],
)
def test_listen_is_a_short_form(text: str, addresses: tuple[str, ...], port: int) -> None:
    assert config(f'listen: "{text}"').listeners == (Listener(port, addresses),)


@pytest.mark.parametrize(
    "text", ["8008", "127.0.0.1", "::1:8008", "example.org:80", "127.0.0.1:0", "127.0.0.1:99999", ":80"]
)
def test_listen_refuses_what_it_cannot_listen_on(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


def test_a_wildcard_address_is_reached_on_loopback() -> None:
    assert config('listen: "*:80"').urls() == ["http://127.0.0.1:80", "http://[::1]:80"]


def test_tls_makes_https() -> None:
    found = config("listeners: [{port: 8448, tls: {certificate: a.pem, key: /etc/b.pem}}]")
    assert found.urls() == ["https://127.0.0.1:8448"]
    tls = found.listeners[0].tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (Path("/srv/postroom/data/a.pem"), Path("/etc/b.pem"))
    assert tls.hsts_days == 365


@pytest.mark.parametrize(
    ("name", "text", "url"),
    [
        ("example.org", "", "https://example.org"),
        ("example.org", "public_url: https://matrix.example.org/", "https://matrix.example.org"),
        ("localhost", "", "http://127.0.0.1:8008"),
        ("localhost:8448", "listen: 127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("'[::1]'", "", "http://127.0.0.1:8008"),
    ],
)
def test_where_clients_reach_the_server(name: str, text: str, url: str) -> None:
    assert config(text, name=name).client_url == url


def test_one_rate_limit_may_be_off() -> None:
    limits = config("rate_limits: {messages: off, joins: {per_second: 3, burst: 4}}").rate_limits.by_name()
    assert limits["messages"] is None
    assert limits["joins"] == Limit(3, 4)
    assert limits["logins"] is not None


def test_all_rate_limits_may_be_off() -> None:
    limits = config("rate_limits: {enabled: false}").rate_limits.by_name()
    assert set(limits.values()) == {None}


CHOICES = "must be one of client, federation, health, metrics, not clients; did you mean 'client'?"


def test_all_mistakes_are_told_at_once_with_line_key_and_advice() -> None:
    text = """\
server_name: https://example.org
registraton:
  mode: open
database: mysql://localhost/x
listeners:
  - port: 80000
    addresses: [example.org]
  - port: 8448
    apis: [clients]
    trusted_proxies: [10.0.0.0/99]
rate_limits:
  message: off
  joins: {per_second: 0, burst: 5}
media:
  max_upload_mib: lots
"""
    assert mistakes(text) == [
        (1, "server_name", "'https://example.org' is a URL: give the name only, such as example.org"),
        (2, "registraton", "unknown key; did you mean 'registration'?"),
        (4, "database", "must begin with sqlite:/// or postgresql://"),
        (6, "listeners[0].port", "80000 is not a port: it must be between 1 and 65535"),
        (7, "listeners[0].addresses", "'example.org' is not an IP address such as 127.0.0.1 or ::1"),
        (9, "listeners[1].apis[0]", CHOICES),
        (10, "listeners[1].trusted_proxies", "'10.0.0.0/99' is not an address or network such as 10.0.0.0/8"),
        (12, "rate_limits.message", "unknown key; did you mean 'messages'?"),
        (13, "rate_limits.joins.per_second", "must be more than 0; `off` instead of the section lifts it"),
        (15, "media.max_upload_mib", "must be a whole number, not lots"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("", "server_name", "is missing"),
        ("server_name: exa mple", "server_name", "not a server name"),
        (f"server_name: {'a' * 231}", "server_name", "so long"),
        ("public_url: matrix.example.org", "public_url", "not a URL"),
        ("public_url: https://example.org/_matrix/client", "public_url", "leave out /_matrix"),
        ("listen: 127.0.0.1:1\nlisteners: [{port: 1}]", "listen", "short form"),
        ("listen: 8008", "listen", "not ADDRESS:PORT"),
        ("database: sqlite://x.db", "database", "three slashes"),
        ("registration: {mode: opn}", "registration.mode", "did you mean 'open'?"),
        ("registration: {shared_secret: short}", "registration.shared_secret", "at least 16"),
        ("passwords: {hash_passes: 0}", "passwords.hash_passes", "between 1 and 100"),
        ('rooms: {default_version: "99"}', "rooms.default_version", "not a room version"),
        ("rate_limits: {joins: {per_second: 1}}", "rate_limits.joins.burst", "is missing"),
        ("logging: {level: loud}", "logging.level", "must be one of"),
        ("listeners: [{port: 80, apis: []}]", "listeners[0].apis", "must not be empty"),
        ("media: {quota_per_user_mib: -1}", "media.quota_per_user_mib", "at least 0"),
    ],
)
def test_a_mistake_names_its_key(line: str, key: str, says: str) -> None:
    name = "" if "server_name" in key else "server_name: example.org\n"
    found = mistakes(name + line)
    assert [problem[1] for problem in found] == [key]
    assert says in found[0][2]


def test_load_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "homeserver.yaml"
    file.write_text("server_name: example.org\n")
    assert load(file).data_dir == tmp_path / "data"
