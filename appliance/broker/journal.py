"""The journal: every accepted change with its sequence number, on disk, bounded.

The newest rows are also kept in memory, so that readers that are nearly up to date (the live page,
rules, the notifier) never touch the disk. On disk the journal is a ring of ``journal_max_rows``
slots: row ``seq`` lives in slot ``seq % slots``. Sequence numbers ascend and are never used twice;
rows that could not be committed leave gaps.

Appending belongs to the loop thread; reading and waiting to any thread.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Collection
from operator import itemgetter
from typing import Any

from appliance.broker.entities import JournalRow, decode_row
from appliance.storage.database import Database, Done, Failed
from appliance.storage.errors import StorageError

_APPEND = "INSERT OR REPLACE INTO journal VALUES (?,?,?,?,?,?,?)"
_COLUMNS = "seq, at_ms, kind, entity, body, receipt"
_sequence = itemgetter(0)


class Journal:
    """The ring on disk, its newest part in memory, and the threads that wait for more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.slots = database.settings.journal_max_rows
        self._memory_rows = database.settings.journal_memory_rows
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._waiting_threads = 0
        self._closed = False
        self._head = 0
        self._recent: list[JournalRow] = []  # committed; up to twice _memory_rows, then halved
        self._recent_after = 0  # every committed row later than this is in _recent
        self.next_seq = 1
        self._uncommitted: deque[tuple[int, JournalRow]] = deque()

    # --- start ------------------------------------------------------------------------------

    def load(self, known_head: int | None, least_head: int) -> None:
        """Find the end of the journal.

        ``known_head`` is trusted after a clean stop; otherwise the rows are searched. ``least_head`` is
        the highest number anything else refers to: the journal never continues below it.
        """
        self._fit_slots()
        if known_head is None:
            ((found,),) = self._database.read(
                "SELECT MAX(seq) FROM journal WHERE slot = seq % ?", (self.slots,)
            )
            known_head = found or 0
        self._head = self._recent_after = max(known_head, least_head)
        self.next_seq = self._head + 1

    def _fit_slots(self) -> None:
        """Rearrange the ring when the settings give it another size."""
        rows = self._database.read("SELECT value FROM meta WHERE name='journal_slots'")
        if rows and rows[0][0] == self.slots:
            return
        write = self._database.write
        write("CREATE TEMP TABLE rearranged AS SELECT * FROM journal", ())
        write("DELETE FROM journal", ())
        write(
            "INSERT OR REPLACE INTO journal SELECT seq % ?, seq, at_ms, kind, entity, body, receipt"
            " FROM rearranged WHERE seq > (SELECT MAX(seq) FROM rearranged) - ? ORDER BY 1",
            (self.slots, self.slots),
        )
        write("DROP TABLE rearranged", ())
        write("INSERT OR REPLACE INTO meta VALUES ('journal_slots', ?)", (self.slots,))
        self._database.flush()
        if self._database.read("SELECT value FROM meta WHERE name='journal_slots'") != [(self.slots,)]:
            raise StorageError(f"the journal cannot be prepared: {self._database.health.error}")

    # --- appending (loop thread) ------------------------------------------------------------

    def append(  # the columns of the row, one by one: this is the hot path
        self,
        at_ms: int,
        kind: str,
        entity: str,
        text: str,
        body: dict[str, Any],
        receipt: bytes | None,
        done: Done | None,
        failed: Failed | None,
    ) -> int:
        """Queue a row; answers its sequence number. Raises StorageFull, and then nothing was queued."""
        seq = self.next_seq
        ticket = self._database.write(
            _APPEND, (seq % self.slots, seq, at_ms, kind, entity, text, receipt), done, failed
        )
        self.next_seq = seq + 1
        self._uncommitted.append((ticket, JournalRow(seq, at_ms, kind, entity, body, receipt)))
        return seq

    def group_decided(
        self, last_ticket: int, lost: Collection[int]
    ) -> tuple[list[JournalRow], list[JournalRow]]:
        """Take over what was committed; answers the rows that were, and the rows that were lost."""
        uncommitted = self._uncommitted
        rows: list[JournalRow] = []
        lost_rows: list[JournalRow] = []
        while uncommitted and uncommitted[0][0] <= last_ticket:
            ticket, row = uncommitted.popleft()
            if not lost or ticket not in lost:
                rows.append(row)
            else:
                lost_rows.append(row)
        if rows:
            with self._lock:
                recent = self._recent
                recent += rows
                if len(recent) > 2 * self._memory_rows:
                    self._recent_after = recent[-self._memory_rows - 1].seq
                    del recent[: -self._memory_rows]
                self._head = rows[-1].seq
                if self._waiting_threads:
                    self._grown.notify_all()
        return rows, lost_rows

    def close(self) -> None:
        """Let waiting threads go."""
        with self._lock:
            self._closed = True
            self._grown.notify_all()

    # --- reading (any thread) ---------------------------------------------------------------

    def head(self) -> int:
        """The sequence number of the newest committed row; 0 when there is none."""
        return self._head

    def oldest(self) -> int:
        """The lowest sequence number that may still be there."""
        return max(1, self._head - self.slots + 1)

    def read_after(
        self, seq: int, limit: int, entity: str | None, kinds: Collection[str] | None
    ) -> list[JournalRow]:
        """Up to ``limit`` rows later than ``seq``, ascending. Raises StorageError."""
        with self._lock:
            head = self._head
            if seq >= self._recent_after:
                start = bisect_right(self._recent, seq, key=_sequence)
                if entity is None and kinds is None:
                    return self._recent[start : start + limit]
                recent = self._recent[start:]
                return [row for row in recent if _wanted(row, entity, kinds)][:limit]
        seq = max(seq, head - self.slots, 0)
        # The rows after seq lie from its slot to the end of the ring, then from the ring's start.
        turn = (seq + 1) % self.slots
        rows = self._select(f"slot >= {turn}", seq, head, limit, entity, kinds, "ASC")
        if len(rows) < limit and head - seq > self.slots - turn:
            rows += self._select(f"slot < {turn}", seq, head, limit - len(rows), entity, kinds, "ASC")
        return rows

    def read_last(
        self, limit: int, entity: str | None, kinds: Collection[str] | None, before: int | None = None
    ) -> list[JournalRow]:
        """The newest ``limit`` rows, of those before a number, ascending. Raises StorageError."""
        with self._lock:
            head = self._head
            if entity is None and kinds is None and before is None and len(self._recent) >= limit:
                return self._recent[len(self._recent) - limit :]
        least = max(head - self.slots, 0)
        if before is not None:
            head = max(min(head, before - 1), least)
        turn = head % self.slots
        rows = self._select(f"slot <= {turn}", least, head, limit, entity, kinds, "DESC")
        if len(rows) < limit and head > turn:
            rows += self._select(f"slot > {turn}", least, head, limit - len(rows), entity, kinds, "DESC")
        rows.reverse()
        return rows

    def wait_after(self, seq: int, timeout_s: float) -> bool:
        """Wait until a row later than ``seq`` is committed; False when the time is over or at stop."""
        with self._lock:
            self._waiting_threads += 1
            try:
                self._grown.wait_for(lambda: self._head > seq or self._closed, timeout_s)
            finally:
                self._waiting_threads -= 1
            return self._head > seq

    def receipts(self, since_ms: int) -> list[tuple[str, bytes, int]]:
        """``(entity, receipt, at_ms)`` of the rows since then that carry a receipt, newest first.

        Read backwards until a whole page is older: wall time may have been set back in between.
        """
        found: list[tuple[str, bytes, int]] = []
        page = 1000
        high = self._head
        while high > 0:
            low = max(high - page, 0, self._head - self.slots)
            slots = [seq % self.slots for seq in (low + 1, high)]
            where = "slot BETWEEN ? AND ?" if slots[0] <= slots[1] else "(slot >= ? OR slot <= ?)"
            rows = self._database.read(
                f"SELECT entity, receipt, at_ms FROM journal WHERE {where}"
                " AND seq > ? AND seq <= ? ORDER BY seq DESC",
                (*slots, low, high),
            )
            found += [row for row in rows if row[1] is not None and row[2] >= since_ms]
            if rows and all(row[2] < since_ms for row in rows):
                break
            if low <= max(0, self._head - self.slots):
                break
            high = low
        return found

    def _select(
        self,
        where: str,
        after: int,
        until: int,
        limit: int,
        entity: str | None,
        kinds: Collection[str] | None,
        direction: str,
    ) -> list[JournalRow]:
        sql = f"SELECT {_COLUMNS} FROM journal WHERE {where} AND seq > ? AND seq <= ?"
        parameters: list[Any] = [after, until]
        if entity is not None:
            sql += " AND entity = ?"
            parameters.append(entity)
        if kinds is not None:
            sql += f" AND kind IN ({','.join('?' * len(kinds))})"
            parameters += kinds
        sql += f" ORDER BY slot {direction} LIMIT ?"
        parameters.append(limit)
        return [decode_row(*row) for row in self._database.read(sql, parameters)]


def _wanted(row: JournalRow, entity: str | None, kinds: Collection[str] | None) -> bool:
    return (entity is None or row.entity == entity) and (kinds is None or row.kind in kinds)
