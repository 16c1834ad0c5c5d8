"""Other servers as places we send to: how far they have got, and how it goes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.protocol.ids import ServerName
from homeserver.runtime.database import Transaction, marks

MANY = 500


class DestinationRow(NamedTuple):
    """A server and what it was sent. The last four are as of its last failure."""

    nid: int
    server: ServerName
    sent_nid: int
    receipts_position: int
    last_txn: str | None
    last_success_ms: int | None
    failing_since_ms: int | None
    last_failure_ms: int | None
    failures: int
    retry_at_ms: int
    last_error: str | None
    is_blocked: bool
    keeps_log: bool


class Progress(NamedTuple):
    """How far a server has got."""

    server: ServerName
    sent_nid: int
    receipts_position: int
    last_txn: str | None


class Failing(NamedTuple):
    """What the failures of a server have come to; `failing_since_ms` is None when it answers again."""

    server: ServerName
    failing_since_ms: int | None
    last_failure_ms: int | None
    failures: int
    retry_at_ms: int
    last_error: str | None


class NewEdu(NamedTuple):
    """An EDU to wait for destinations; of those with the same type and key, the newest only."""

    type: str
    key: str
    content: bytes


class LoggedEdu(NamedTuple):
    """An EDU that waits for a destination."""

    nid: int
    type: str
    content: bytes


_COLUMNS = """nid, server, sent_nid, receipts_position, last_txn, last_success_ms, failing_since_ms,
                last_failure_ms, failures, retry_at_ms, last_error, is_blocked, keeps_log"""


class DestinationStore:
    """One row for each server that we ever shared a room with."""

    def numbers(
        self, txn: Transaction, servers: Sequence[ServerName], *, since: int
    ) -> dict[ServerName, int]:
        """Their numbers; those that are new begin after `since`, having missed nothing."""
        txn.executemany(
            """
            INSERT INTO destinations
                (server, sent_nid, receipts_position, failures, retry_at_ms, is_blocked, keeps_log)
            VALUES (%s, %s, %s, 0, 0, %s, %s) ON CONFLICT (server) DO NOTHING""",
            [(server, since, since, False, False) for server in servers],
        )
        found: dict[ServerName, int] = {}
        for start in range(0, len(servers), MANY):
            some = servers[start : start + MANY]
            found.update(
                txn.rows(f"SELECT server, nid FROM destinations WHERE server IN ({marks(some)})", some)
            )
        return found

    def of(self, txn: Transaction, servers: Sequence[ServerName]) -> list[DestinationRow]:
        """Those of the servers that are known."""
        found: list[DestinationRow] = []
        for start in range(0, len(servers), MANY):
            some = servers[start : start + MANY]
            found += txn.all(
                _row, f"SELECT {_COLUMNS} FROM destinations WHERE server IN ({marks(some)})", some
            )
        return found

    def page(
        self, txn: Transaction, *, after: str, limit: int, in_trouble: bool = False
    ) -> list[DestinationRow]:
        """Servers in the order of their names; only those that fail or are blocked with `in_trouble`."""
        chosen = "AND (failing_since_ms IS NOT NULL OR is_blocked)" if in_trouble else ""
        return txn.all(
            _row,
            f"SELECT {_COLUMNS} FROM destinations WHERE server > %s {chosen} ORDER BY server LIMIT %s",
            (after, limit),
        )

    def in_trouble(self, txn: Transaction) -> list[DestinationRow]:
        """All that fail or are blocked."""
        return txn.all(
            _row,
            f"SELECT {_COLUMNS} FROM destinations WHERE failing_since_ms IS NOT NULL OR is_blocked",
        )

    def save_progress(self, txn: Transaction, progress: Iterable[Progress]) -> None:
        """How far they have got; never backwards."""
        txn.executemany(
            """
            UPDATE destinations SET last_txn = %s,
                sent_nid = CASE WHEN sent_nid < %s THEN %s ELSE sent_nid END,
                receipts_position = CASE WHEN receipts_position < %s THEN %s ELSE receipts_position END
            WHERE server = %s""",
            [
                (one.last_txn, *(one.sent_nid,) * 2, *(one.receipts_position,) * 2, one.server)
                for one in progress
            ],
        )  # fmt: skip

    def save_successes(self, txn: Transaction, successes: Iterable[tuple[ServerName, int]]) -> None:
        """When (ms) each answered last."""
        txn.executemany(
            "UPDATE destinations SET last_success_ms = %s WHERE server = %s",
            [(at_ms, server) for server, at_ms in successes],
        )

    def save_failing(self, txn: Transaction, failing: Iterable[Failing]) -> None:
        """How badly it goes."""
        txn.executemany(
            """
            UPDATE destinations SET failing_since_ms = %s, last_failure_ms = COALESCE(%s, last_failure_ms),
                failures = %s, retry_at_ms = %s, last_error = COALESCE(%s, last_error)
            WHERE server = %s""",
            [(*one[1:], one.server) for one in failing],
        )

    def block(self, txn: Transaction, server: ServerName, *, is_blocked: bool, since: int) -> None:
        """Send it nothing, or things again."""
        self.numbers(txn, [server], since=since)
        txn.execute("UPDATE destinations SET is_blocked = %s WHERE server = %s", (is_blocked, server))

    def note_log(self, txn: Transaction, server: ServerName) -> None:
        """The server watches the order of transactions: keep what we send it for a while."""
        txn.execute("UPDATE destinations SET keeps_log = %s WHERE server = %s", (True, server))

    # EDUs that must not get lost

    def add_edu(self, txn: Transaction, destination_nids: Sequence[int], edu: NewEdu, *, now_ms: int) -> None:
        """Put an EDU in line for destinations, in place of an older one with the same key."""
        nid = txn.value("INSERT INTO edu_contents (content) VALUES (%s) RETURNING nid", (edu.content,))
        txn.executemany(
            """
            INSERT INTO outgoing_edus (destination_nid, type, key, edu_nid, added_ms)
            VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (destination_nid, type, key) DO UPDATE SET
                edu_nid = excluded.edu_nid, added_ms = excluded.added_ms""",
            [(destination_nid, edu.type, edu.key, nid, now_ms) for destination_nid in destination_nids],
        )

    def edus(self, txn: Transaction, destination_nid: int, *, limit: int) -> list[LoggedEdu]:
        """What waits for the destination: messages to devices first, then in order."""
        return txn.all(
            LoggedEdu,
            """
            SELECT e.edu_nid, e.type, c.content
            FROM outgoing_edus AS e JOIN edu_contents AS c ON c.nid = e.edu_nid
            WHERE e.destination_nid = %s
            ORDER BY CASE WHEN e.type = 'm.direct_to_device' THEN 0 ELSE 1 END, e.edu_nid LIMIT %s""",
            (destination_nid, limit),
        )

    def remove_edus(self, txn: Transaction, destination_nid: int, nids: Sequence[int]) -> None:
        """These arrived. One that took the place of another meanwhile stays."""
        txn.execute(
            f"DELETE FROM outgoing_edus WHERE destination_nid = %s AND edu_nid IN ({marks(nids)})",
            (destination_nid, *nids),
        )
        txn.execute(
            f"""
            DELETE FROM edu_contents WHERE nid IN ({marks(nids)}) AND NOT EXISTS (
                SELECT 1 FROM outgoing_edus WHERE outgoing_edus.edu_nid = edu_contents.nid)""",
            nids,
        )

    def crowded_by(self, txn: Transaction, type_: str, most: int) -> list[int]:
        """Destinations for which more than so many EDUs of a type wait."""
        return txn.column(
            """
            SELECT destination_nid FROM outgoing_edus WHERE type = %s
            GROUP BY destination_nid HAVING COUNT(*) > %s""",
            (type_, most),
        )

    def drop_old_edus(self, txn: Transaction, type_: str, *, before_ms: int) -> int:
        """Those of a type that have waited since before that time; how many."""
        return txn.execute("DELETE FROM outgoing_edus WHERE type = %s AND added_ms < %s", (type_, before_ms))

    def drop_oldest_edus(self, txn: Transaction, destination_nid: int, type_: str, *, keep: int) -> int:
        """All but the newest of a type; how many."""
        return txn.execute(
            """
            DELETE FROM outgoing_edus WHERE destination_nid = %s AND type = %s AND edu_nid <= (
                SELECT edu_nid FROM outgoing_edus WHERE destination_nid = %s AND type = %s
                ORDER BY edu_nid DESC LIMIT 1 OFFSET %s)""",
            (destination_nid, type_, destination_nid, type_, keep),
        )

    def prune_edus(self, txn: Transaction) -> None:
        """Drop contents that nobody waits for: all were replaced, or dropped."""
        txn.execute(
            """
            DELETE FROM edu_contents WHERE NOT EXISTS (
                SELECT 1 FROM outgoing_edus WHERE outgoing_edus.edu_nid = edu_contents.nid)"""
        )

    def count_edus(self, txn: Transaction, destination_nid: int) -> int:
        count: int = txn.value(
            "SELECT COUNT(*) FROM outgoing_edus WHERE destination_nid = %s", (destination_nid,)
        )
        return count

    # What was sent, for those who may notice a gap

    def log_sent(
        self, txn: Transaction, destination_nid: int, txn_id: str, body: bytes, *, keep: int, keep_bytes: int
    ) -> None:
        """Remember a transaction. Forget those further back than `keep` in number or `keep_bytes` in size."""
        txn.execute(
            "INSERT INTO sent_transactions (destination_nid, txn_id, body) VALUES (%s, %s, %s)",
            (destination_nid, txn_id, body),
        )
        kept_bytes = 0
        newest_first = txn.rows(
            """
            SELECT number, LENGTH(body) FROM sent_transactions WHERE destination_nid = %s
            ORDER BY number DESC LIMIT %s""",
            (destination_nid, keep + 1),
        )
        for place, (number, size) in enumerate(newest_first):
            kept_bytes += size
            if place == keep or (place and kept_bytes > keep_bytes):  # the newest stays, whatever its size
                txn.execute(
                    "DELETE FROM sent_transactions WHERE destination_nid = %s AND number <= %s",
                    (destination_nid, number),
                )
                return

    def sent_after(
        self, txn: Transaction, server: ServerName, txn_id: str, *, limit: int
    ) -> list[tuple[str, bytes]] | None:
        """(transaction ID, body) of those sent after `txn_id`, in order; None: that is not known any more."""
        place = txn.row(
            """
            SELECT s.destination_nid, s.number FROM sent_transactions AS s
            JOIN destinations AS d ON d.nid = s.destination_nid WHERE d.server = %s AND s.txn_id = %s""",
            (server, txn_id),
        )
        if place is None:
            return None
        rows = txn.rows(
            """
            SELECT txn_id, body FROM sent_transactions WHERE destination_nid = %s AND number > %s
            ORDER BY number LIMIT %s""",
            (*place, limit),
        )
        return [(row[0], row[1]) for row in rows]


def _row(*values: object) -> DestinationRow:
    row = DestinationRow(*values)  # type: ignore[arg-type] # as selected
    return row._replace(is_blocked=bool(row.is_blocked), keeps_log=bool(row.keeps_log))
