"""What large bodies may hold in memory, all connections together."""

from tests.homeserver.http.connection.endpoints import Endpoints, get
from tests.support.http_connection import Line, Listener

MIB = 1024 * 1024
NEAR, FAR, FARTHER = "192.0.2.7", "198.51.100.1", "198.51.100.2"


def put(name: str, length: int = 8 * MIB) -> str:
    return f"PUT /large/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"


def sending(listener: Listener, address: str, mib: int, of: int = 8) -> Line:
    """A client that has sent so many MiB of a body."""
    line = listener.connect(address)
    line.send(put("body", of * MIB))
    more(line, mib)
    return line


def more(line: Line, mib: int) -> None:
    for _ in range(mib):
        line.send(b"x" * MIB)


def refused(*lines: Line) -> list[bool]:
    return [[answer.status for answer in line.answers()] == [429] for line in lines]


def test_all_that_is_held_is_bounded(small_budget: Listener) -> None:
    """Ten MiB are the most here."""
    lines = [sending(small_budget, f"192.0.2.{number}", 3) for number in range(1, 5)]
    assert sum(refused(*lines)) == 1
    assert small_budget.server.bodies.held == 9 * MIB


def test_who_is_refused_is_told_when_to_come_back(small_budget: Listener) -> None:
    lines = [sending(small_budget, FAR, 6), sending(small_budget, FAR, 6)]
    assert refused(*lines) == [True, False]
    answer = lines[0].answer
    assert answer.errcode == "M_LIMIT_EXCEEDED"
    assert answer.json["retry_after_ms"] > 0
    assert answer.headers["retry-after"]
    assert answer.headers["connection"] == "close"
    lines[0].send(b"x" * MIB)  # the rest is thrown away
    assert small_budget.server.bodies.held == 6 * MIB


def test_an_address_that_holds_most_makes_room_for_others(small_budget: Listener) -> None:
    crowd = [sending(small_budget, FAR, 3) for _ in range(3)]
    honest = sending(small_budget, NEAR, 4, of=4)
    assert honest.answer.status == 200
    assert refused(*crowd) == [True, False, False]  # the first has taken longest


def test_neighbours_in_a_network_count_as_one(small_budget: Listener) -> None:
    crowd = [sending(small_budget, f"2001:db8::{number}", 2) for number in range(1, 5)]
    sending(small_budget, NEAR, 3)
    assert refused(*crowd) == [True, False, False, False]


def test_small_bodies_need_no_room(small_budget: Listener) -> None:
    sending(small_budget, FAR, 7)
    sending(small_budget, FARTHER, 3)
    for number in range(100):
        line = small_budget.connect(NEAR)
        line.send(put(f"small{number}", 100_000))
        line.send(b"x" * 50_000)
        line.send(b"x" * 50_000)
        assert line.answer.status == 200


def test_a_body_is_held_until_it_is_answered(small_budget: Listener, endpoints: Endpoints) -> None:
    line = small_budget.connect(FAR)
    line.send(put("held").replace("large", "largework"))
    more(line, 8)
    late = sending(small_budget, NEAR, 3)
    assert refused(late) == [True]  # what is being worked on is not interrupted
    endpoints.waiting["held"].callback(None)
    assert line.answer.status == 200
    assert small_budget.server.bodies.held == 0


def test_bodies_in_line_behind_another_request_make_room_too(
    small_budget: Listener, endpoints: Endpoints
) -> None:
    greedy = small_budget.connect(FAR)
    greedy.send(get("/work/first"))
    for _ in range(2):
        greedy.send(put("behind", 4 * MIB))
        more(greedy, 4)
    assert sending(small_budget, NEAR, 4, of=4).answer.status == 200
    endpoints.waiting["first"].callback(None)
    assert [answer.status for answer in greedy.answers()] == [200, 429]
    assert small_budget.server.bodies.held == 0


def test_many_small_bodies_in_line_are_one_large_one(small_budget: Listener) -> None:
    greedy = small_budget.connect(FAR)
    greedy.send(get("/work/first"))
    for _ in range(20):
        greedy.send(put("behind", 100_000))
        greedy.send(b"x" * 100_000)
    assert small_budget.server.bodies.held == 2_000_000
    greedy.hang_up()
    assert small_budget.server.bodies.held == 0


def test_whoever_goes_away_holds_nothing(small_budget: Listener, endpoints: Endpoints) -> None:
    sending(small_budget, FAR, 5).hang_up()
    waiting = small_budget.connect(FAR)
    waiting.send(put("gone").replace("large", "largework"))
    more(waiting, 8)
    waiting.hang_up()
    assert small_budget.server.bodies.held == 8 * MIB  # it is still being worked on
    endpoints.waiting["gone"].callback(None)
    slow = sending(small_budget, FAR, 5)
    small_budget.advance(8_000)
    assert slow.answer.status == 408
    nonsense = small_budget.connect(FAR)
    nonsense.send("PUT /large/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    nonsense.send(b"200000\r\n" + b"x" * 2 * MIB)
    nonsense.send("nonsense")
    assert nonsense.answer.status == 400
    assert small_budget.server.bodies.held == 0


def test_a_body_over_the_limit_of_its_route_holds_nothing(small_budget: Listener) -> None:
    line = small_budget.connect(FAR)
    line.send("PUT /large/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(9):
        line.send(b"100000\r\n" + b"x" * MIB + b"\r\n")
    assert line.answer.status == 413
    assert small_budget.server.bodies.held == 0
