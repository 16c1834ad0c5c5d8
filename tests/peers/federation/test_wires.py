"""The wires between servers, by small programs that say how they reach one another."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.peers.federation import namespaces
from tests.peers.federation.namespaces import Namespaces
from tests.peers.federation.people import eventually
from tests.peers.federation.proxies import Proxies
from tests.peers.federation.servers import Peer
from tests.peers.federation.wires import Fault, Wires
from tests.support.certificates import Authority
from tests.support.server_process import ROOT

PROGRAM = """
import sys, threading, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'"versions"'
        if self.path.startswith("/reach/"):
            try:
                body = urllib.request.urlopen("http://" + self.path[7:], timeout=1.5).read()
            except Exception as error:
                body = b'"hangs"' if "timed out" in str(error) else b'"refused"'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

host, *ports = sys.argv[1:]
for port in ports:
    server = ThreadingHTTPServer((host, int(port)), Answering)
    threading.Thread(target=server.serve_forever).start()
"""
FORSAKEN = """
import sys, time
from pathlib import Path
from tests.peers.federation.namespaces import Namespaces
from tests.peers.federation.test_wires import Caller
from tests.support.certificates import Authority

folder = Path(sys.argv[1])
wires = Namespaces()
peer = wires.add(Caller, folder / "peer", Authority(folder / "ca"))
peer.start()
print(peer.pid, flush=True)
time.sleep(60)
"""


class Caller(Peer):
    """Answers whoever reaches it, and tells how it reaches others."""

    def config_text(self) -> str:
        return ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", PROGRAM, self.host, str(self.port), str(self.behind)]

    def reach(self, other: Peer) -> str:
        """What becomes of a request to another: `hangs`, `refused`, or an answer."""
        with closing(self.connection(timeout_s=10)) as connection:
            connection.request("GET", f"/reach/{other.name}/")
            return str(json.load(connection.getresponse()))


@pytest.fixture(params=["namespaces", "proxies"])
def wires(request: pytest.FixtureRequest) -> Iterator[Wires]:
    if request.param == "namespaces" and namespaces.why_not():
        pytest.skip(f"no network namespaces here: {namespaces.why_not()}")
    wires = Namespaces() if request.param == "namespaces" else Proxies()
    yield wires
    for peer in wires.peers:
        peer.end()
    wires.stop()


@pytest.fixture
def callers(wires: Wires, tmp_path: Path, authority: Authority) -> list[Caller]:
    made = [wires.add(Caller, tmp_path / f"caller{number}", authority) for number in range(3)]
    for caller in made:
        caller.start()
    return made  # type: ignore[return-value]


def test_all_reach_all(callers: list[Caller]) -> None:
    assert {one.reach(other) for one in callers for other in callers if one is not other} == {"versions"}


@pytest.mark.parametrize("fault", Fault)
def test_two_are_parted_and_brought_together(wires: Wires, callers: list[Caller], fault: Fault) -> None:
    one, other, third = callers
    wires.cut(one, other, fault)
    assert one.reach(other) == other.reach(one) == fault.value
    assert third.reach(one) == third.reach(other) == one.reach(third) == "versions"
    wires.heal()
    assert one.reach(other) == other.reach(one) == "versions"


def test_nothing_comes_back_over_a_link_that_works_one_way(wires: Wires, callers: list[Caller]) -> None:
    one, other, third = callers
    wires.cut(one, other, one_way=True)
    assert one.reach(other) == other.reach(one) == "hangs"
    assert third.reach(other) == "versions"


def test_a_slow_line(wires: Wires, callers: list[Caller]) -> None:
    one, other, _ = callers
    wires.slow_down(other)
    began = time.monotonic()
    answers = {one.reach(other) for _ in range(5)}
    assert "versions" in answers
    if not isinstance(wires, Namespaces):  # there the kernel may have no delay, only a low rate
        assert time.monotonic() - began > 0.2
    wires.heal()
    assert one.reach(other) == "versions"


def test_a_run_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    if namespaces.why_not():
        pytest.skip(f"no network namespaces here: {namespaces.why_not()}")
    before = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    run = subprocess.Popen(
        [sys.executable, "-c", FORSAKEN, str(tmp_path)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    namespace = os.readlink(f"/proc/{pid}/ns/net")
    assert namespace != os.readlink("/proc/self/ns/net")
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    eventually(lambda: not living_in(namespace), what="the server has died, and with it its network")
    assert (os.listdir("/run/netns") if os.path.isdir("/run/netns") else []) == before


def living_in(namespace: str) -> list[str]:
    """Processes of a network namespace, except those that have ended."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/net") == namespace:
                found.append(pid)
        except OSError:
            continue
    return found
