"""A transaction on the wire: what is wrong with one entry harms that entry only."""

from typing import Any

import orjson
import pytest

from homeserver.protocol import canonical_json
from homeserver.protocol.request_signatures import authorization_header, request_bytes
from tests.support.adversary import V1, Adversary, View
from tests.support.http import Answer, start
from tests.support.people import Person
from tests.support.whole_server import WholeServer


@pytest.fixture
def far(server: WholeServer) -> Adversary:
    """A server that may send whatever bytes it likes."""
    return Adversary(server, "far.example")


@pytest.fixture
def room(alice: Person) -> str:
    return alice.create_room(preset="public_chat", room_version="11")


@pytest.fixture
def view(far: Adversary, room: str) -> View:
    return far.join(room)


ODD_CONTENTS = {
    "half a surrogate pair": b'"\\ud800"',
    "half a pair the other way round": b'"\\udc00\\ud800"',
    "half a pair as a key": b'{"\\ud800":1}',
    "no UTF-8": b'"\xff\xfe"',
    "half a pair in UTF-8": b'"\xed\xa0\x80"',
    "a control character": b'"\x01"',
    "a float": b"1.5",
    "a float that is whole": b"1.0",
    "an exponent": b"1e3",
    "beyond a double": b"1e999",
    "not a number": b"NaN",
    "minus infinity": b"-Infinity",
    "a big integer": b"9007199254740992",
    "a huge integer": b"9" * 5000,
    "300 levels": b"[" * 300 + b"]" * 300,
    "20,000 levels": b"[" * 20_000 + b"]" * 20_000,
    "20,000 levels of objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "no word of JSON": b"undefined",
    "a bad escape": b'"\\x41"',
    "a leading zero": b"01",
    "nothing": b"",
}


def transaction(far: Adversary, pdus: list[dict[str, Any]], edus: list[Any] | None = None) -> bytes:
    return canonical_json.encode({"edus": edus or [], "origin": far.name, "pdus": pdus})


def put(far: Adversary, txn: str, sent: bytes, *, signed: bytes | None = None) -> Answer:
    """`signed`: what the signature is over, if not over the body as it is sent."""
    path = f"{V1}/send/{txn}"
    us = far.victim.config.server_name
    signature = far.key.sign(request_bytes("PUT", path, far.name, us, sent if signed is None else signed))
    header = authorization_header(far.name, us, far.key.key_id, signature)
    pending = start(far.victim.router, "PUT", path, {"Authorization": header}, sent, client_ip="6.6.6.6")
    far.settle()
    return pending.answer


@pytest.mark.parametrize("odd", ODD_CONTENTS.values(), ids=ODD_CONTENTS)
def test_an_event_that_is_no_canonical_json_beside_good_ones(
    alice: Person, room: str, view: View, far: Adversary, odd: bytes
) -> None:
    first, bad, last = far.event(view, "first"), far.event(view, "MARK"), far.event(view, "last")
    raw = transaction(far, [first, bad, last]).replace(b'"MARK"', odd)
    answer = put(far, "t", raw)
    assert answer.status == 200, answer.json
    errors = {event_id: verdict for event_id, verdict in answer.json["pdus"].items() if verdict}
    assert set(answer.json["pdus"]) - set(errors) == {view.name(first), view.name(last)}
    assert len(errors) == 1
    assert alice.sees(room, view.name(first))
    assert alice.sees(room, view.name(last))
    assert not alice.sees(room, view.name(bad))


@pytest.mark.parametrize("odd", ODD_CONTENTS.values(), ids=ODD_CONTENTS)
def test_an_edu_that_is_no_canonical_json_beside_good_ones(
    alice: Person, room: str, view: View, far: Adversary, odd: bytes
) -> None:
    typing = {"room_id": room, "user_id": far.user, "typing": True}
    edus = [
        {"edu_type": "m.typing", "content": {**typing, "typing": "MARK"}},
        {"edu_type": "m.typing", "content": typing},
    ]
    event = far.event(view, "beside it")
    answer = put(far, "t", transaction(far, [event], edus).replace(b'"MARK"', odd))
    assert answer.status == 200, answer.json
    assert alice.sees(room, view.name(event))
    assert alice.sync(since=None).typing(room) == {far.user}


def test_of_a_key_that_stands_twice_the_last_counts(
    alice: Person, room: str, view: View, far: Adversary
) -> None:
    """As for everybody who reads it: so all servers take it, or none."""
    event = far.event(view, "last")
    raw = transaction(far, [event]).replace(b'"body":"last"', b'"body":"first","body":"last"')
    assert put(far, "t", raw).json["pdus"] == {view.name(event): {}}
    assert alice.event(room, view.name(event))["content"]["body"] == "last"


@pytest.mark.parametrize("form", ["�".encode(), b"\\ud800", b"\xed\xa0\x80"])
def test_what_has_no_canonical_form_may_be_signed_in_any_that_is_in_use(
    alice: Person, room: str, view: View, far: Adversary, form: bytes
) -> None:
    """The body is sent in another order than it was signed in: the signature is not over its bytes."""
    good, bad = far.event(view, "good"), far.event(view, "MARK")
    signed = transaction(far, [good, bad])
    sent = orjson.dumps(dict(reversed(orjson.loads(signed).items()))).replace(b"MARK", b"\\ud800")
    answer = put(far, "t", sent, signed=signed.replace(b"MARK", form))
    assert answer.status == 200, answer.json
    assert alice.sees(room, view.name(good))


@pytest.mark.parametrize(
    "damage",
    [
        (b'{"edus":[],', b'{"edus":[],"edus":[],'),
        (b'"pdus":[', b'"pdus":[]],"x":['),
        (b'"pdus":[', b'"pdus":[{"a":[}],'),
        (b'"MARK"', b'"MARK'),
        (b'"origin"', b'"\\ud800":1,"origin"'),
        (b'"MARK"', b'"\\ud800"]'),
    ],
)
def test_what_cannot_be_told_apart_is_refused_as_a_whole(
    room: str, view: View, far: Adversary, damage: tuple[bytes, bytes]
) -> None:
    raw = transaction(far, [far.event(view, "MARK")]).replace(*damage)
    answer = put(far, "t", raw)
    assert (answer.status, answer.errcode) == (400, "M_NOT_JSON")


def test_a_damaged_body_cannot_stand_for_more_than_itself(far: Adversary, view: View) -> None:
    """What another server was sent must not be cut up so that it reads as sent to us."""
    raw = b'{"a":"\\ud800"},"destination":"test","method":"PUT","origin":"far.example","uri":"/x"'
    assert put(far, "t", raw).errcode == "M_NOT_JSON"


def test_looking_for_the_place_is_bounded(far: Adversary, view: View) -> None:
    raw = b'{"pdus":[' + b"[" * 1_200_000 + b"]" * 1_200_000 + b"]}"
    assert put(far, "t", raw).errcode == "M_NOT_JSON"
