"""Bodies that are read while they arrive, and clients that ask before they send one."""

from tests.homeserver.http.connection.endpoints import Endpoints, get, post
from tests.support.http_connection import Listener

# Streams in


def test_a_body_is_read_while_it_arrives(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Content-Length: 6"))
    line.send("abc")
    assert endpoints.read == [b"abc"]
    line.send("def" + get("/echo/next"))
    first, second = line.answers()
    assert (first.json, second.json["name"]) == ({"size": 6}, "next")


def test_an_empty_stream_ends_at_once(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/swallow"))
    assert line.answer.json == {"size": 0}


def test_a_fast_client_waits_for_a_slow_reader(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/slow", "Content-Length: 1000000"))
    for _ in range(10):
        line.send(b"x" * 50_000)
    assert line.transport.is_paused
    listener.advance(500)
    assert not line.is_closed  # it is not the client's fault
    endpoints.waiting["slow"].callback(None)
    assert not line.transport.is_paused
    line.send(b"x" * 500_000)
    assert line.answer.json == {"size": 1_000_000}


def test_a_stream_over_the_limit_is_refused_half_way(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Transfer-Encoding: chunked"))
    for _ in range(11):
        line.send(b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n")
    assert (line.answer.status, line.answer.errcode) == (413, "M_TOO_LARGE")
    assert line.answer.headers["connection"] == "close"


def test_an_endpoint_that_does_not_want_the_body_ends_the_connection(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/refuse", "Content-Length: 100", body="abc"))
    assert line.answer.status == 403
    assert line.answer.headers["connection"] == "close"
    line.send("x" * 97 + get("/echo/smuggled"))
    assert len(line.answers()) == 1


def test_a_body_that_breaks_off_is_told_to_its_reader(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Content-Length: 6", body="abc"))
    line.hang_up()
    assert endpoints.ended == [("swallow", "gone")]
    assert listener.server.connections == set()


def test_bad_chunks_are_told_to_the_reader(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/swallow", "Transfer-Encoding: chunked", body="3\r\nabcXX"))
    assert line.answer.status == 400
    assert line.answer.headers["connection"] == "close"


# Expect: 100-continue


def test_a_client_that_asks_first_is_told_to_go_on(listener: Listener) -> None:
    line = listener.connect()
    line.send("PUT /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert line.answer.status == 100
    line.send("abc")
    assert [answer.status for answer in line.answers()] == [100, 200]


def test_go_on_is_said_in_turn(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(
        get("/work/a")
        + "PUT /echo/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    assert line.answers() == []
    endpoints.waiting["a"].callback(None)
    assert [answer.status for answer in line.answers()] == [200, 100]


def test_go_on_is_said_when_the_endpoint_reads(listener: Listener, endpoints: Endpoints) -> None:
    line = listener.connect()
    line.send(post("/slow", "Content-Length: 3", "Expect: 100-continue"))
    assert line.answers() == []
    endpoints.waiting["slow"].callback(None)
    assert line.answer.status == 100
    line.send("abc")
    assert line.answers()[-1].json == {"size": 3}


def test_a_refused_upload_is_not_told_to_go_on(listener: Listener) -> None:
    line = listener.connect()
    line.send(post("/refuse", "Content-Length: 3", "Expect: 100-continue"))
    assert line.answer.status == 403
