"""An administrator."""

import pytest

from homeserver.runtime.database import Transaction
from tests.support.people import Person
from tests.support.running import result
from tests.support.whole_server import WholeServer


@pytest.fixture
def root(server: WholeServer) -> Person:
    """An administrator."""
    server.register("root")

    def promote(txn: Transaction) -> None:
        txn.execute("UPDATE users SET is_admin = %s WHERE user_id = %s", (True, "@root:test"))

    result(server.database.write(promote))
    return server.log_in("root")
