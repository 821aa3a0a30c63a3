"""The broker: a change comes in, the entity is merged, the journal grows, others hear of it.

Entities are not written per change: they are a cursor on the journal. Changed ones are saved now
and then, and a start replays the rows after that cursor. So a report costs one journal row.

All methods belong to the loop thread, except those that say "any thread". A little long, because
saving and replaying entities belong beside the merging they undo and redo.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from appliance.broker.entities import (
    Entity,
    EntityUpdate,
    JournalRow,
    decode_entity,
    encode_body,
    encode_entity,
    merge,
    row_body,
)
from appliance.broker.journal import Journal
from appliance.storage.database import Database, Done, Failed
from appliance.storage.errors import StorageError, StorageFull

log = logging.getLogger(__name__)

Follower = Callable[[list[JournalRow]], None]

TICK_S: Final = 1.0
CURSOR_SAVE_TICKS: Final = 5
SAVE_SLICE: Final = 100  # entities encoded at a stretch: about a millisecond of the loop
# Saving is put off while it would be dear: below this many journal rows per changed entity...
ROWS_PER_SAVED_ENTITY: Final = 5
# ...but the rows to replay at a start stay bounded.
MAX_REPLAY_ROWS: Final = 30000
REPLAY_PAGE: Final = 1000

_ENTITIES_CURSOR = "broker.entities"
_HEAD_CURSOR = "broker.head"
_SAVE = (
    "INSERT INTO entities (id, doc, seq) VALUES (?,?,?)"
    " ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, seq = excluded.seq"
)
_MOVE = "INSERT INTO cursors VALUES (?,?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq"


class Broker:
    """Entities, journal and cursors over one database, which must be open."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._journal = Journal(database)
        self._entities: dict[str, Entity] = {}
        self._cursors: dict[str, int] = {}
        self._moved_cursors: set[str] = set()
        self._unannounced: set[str] = set()  # entities whose creating row was lost
        self._followers: list[Follower] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Saving entities.
        self._dirty: set[str] = set()
        self._deleted: set[str] = set()
        self._saving: list[str] = []
        self._save_until = 0  # entities are on disk as of this row, or newer
        self._next_save_until = 0  # the head when the running save began
        self._save_failed = False
        self._saved_at = 0.0
        self._ticks = 0
        self._load()
        database.after_group(self._group_decided)

    # --- start and stop ---------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to save entities and cursors now and then."""
        self._loop = loop
        self._saved_at = loop.time()
        self._timer = loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """Save everything that changed and let waiting threads go. The database stays open."""
        self._journal.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._database.flush()
        self.save()
        head = self._journal.head()
        try:
            self._database.write(_MOVE, (_HEAD_CURSOR, head))
        except StorageFull as error:
            log.warning("the end of the journal is searched at the next start: %s", error)
        self._database.flush()

    # --- changes ----------------------------------------------------------------------------

    def accept(self, update: EntityUpdate, done: Done | None = None, failed: Failed | None = None) -> int:
        """Merge a change into its entity and append it to the journal; answers its sequence number.

        ``done`` runs when the row is on disk, ``failed`` when it could not be written. The entity shows
        the change at once; followers and readers of the journal see it after the commit. Raises
        StorageFull, and then nothing has changed.
        """
        entity_id, type_, kind, attributes, body, receipt, removed = update
        at_ms = self._now_ms()
        entity = self._entities.get(entity_id)
        created = None
        touched = bool(attributes or removed)
        if touched and (entity is None or entity.type != type_ or entity_id in self._unannounced):
            created = type_
        text = encode_body(attributes, body, removed, created, at_ms)
        whole = row_body(attributes, body, removed, created)
        seq = self._journal.append(at_ms, kind, entity_id, text, whole, receipt, done, failed)
        if touched:
            if entity is None:
                entity = self._entities[entity_id] = Entity(entity_id, type_, at_ms)
            elif created is not None:
                entity.type = type_
                self._unannounced.discard(entity_id)
            merge(entity, attributes, removed, at_ms)
            entity.modified_ms = at_ms
            entity.seq = seq
            self._dirty.add(entity_id)
        return seq

    def delete(
        self,
        entity_id: str,
        kind: str = "removed",
        body: Mapping[str, Any] | None = None,
        done: Done | None = None,
        failed: Failed | None = None,
    ) -> int | None:
        """Forget an entity; answers the sequence number of the journal row, None when it is unknown."""
        if entity_id not in self._entities:
            return None
        at_ms = self._now_ms()
        whole = {**(body or {}), "deleted": True}
        text = encode_body(None, whole, (), None, at_ms)
        seq = self._journal.append(at_ms, kind, entity_id, text, whole, None, done, failed)
        del self._entities[entity_id]
        self._dirty.discard(entity_id)
        self._deleted.add(entity_id)
        return seq

    # --- what is known ----------------------------------------------------------------------

    def entity(self, entity_id: str) -> Entity | None:
        """One entity, live."""
        return self._entities.get(entity_id)

    def entities(self, type: str | None = None) -> Iterator[Entity]:
        """All entities, or those of one type, in the order of their creation."""
        for entity in list(self._entities.values()):
            if type is None or entity.type == type:
                yield entity

    def head(self) -> int:
        """The sequence number of the newest committed row; 0 when there is none. Any thread."""
        return self._journal.head()

    def oldest(self) -> int:
        """The lowest sequence number that may still be in the journal. Any thread."""
        return self._journal.oldest()

    def read_after(
        self, seq: int, limit: int, entity: str | None = None, kinds: Collection[str] | None = None
    ) -> list[JournalRow]:
        """Up to ``limit`` committed rows later than ``seq``, ascending. Any thread.

        A reader that has been away for longer than the journal reaches back gets the oldest rows there
        are; it can tell by :meth:`oldest`. Raises StorageError.
        """
        return self._journal.read_after(seq, limit, entity, kinds)

    def read_last(
        self,
        limit: int,
        entity: str | None = None,
        kinds: Collection[str] | None = None,
        before: int | None = None,
    ) -> list[JournalRow]:
        """The newest ``limit`` committed rows, of those before a number, ascending. Any thread.

        Raises StorageError.
        """
        return self._journal.read_last(limit, entity, kinds, before)

    def wait_after(self, seq: int, timeout_s: float) -> bool:
        """Wait until a row later than ``seq`` is committed; False at the timeout or at stop. Any thread."""
        return self._journal.wait_after(seq, timeout_s)

    def receipts(self, since_ms: int) -> list[tuple[str, bytes, int]]:
        """``(entity, receipt, at_ms)`` of the rows since then that carry a receipt, newest first."""
        return self._journal.receipts(since_ms)

    # --- others -----------------------------------------------------------------------------

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Give every commit's rows to ``follower`` on the loop thread; answers how to end it."""
        self._followers.append(follower)

        def unfollow() -> None:
            if follower in self._followers:
                self._followers.remove(follower)

        return unfollow

    def cursor(self, name: str) -> int:
        """Up to which sequence number the reader ``name`` has worked; 0 at first."""
        return self._cursors.get(name, 0)

    def move_cursor(self, name: str, seq: int, done: Done | None = None) -> None:
        """Remember how far a reader has worked.

        With ``done`` it is written with the next group; otherwise within seconds. After a crash a
        reader may meet rows again that it has worked on, never miss one.
        """
        self._cursors[name] = seq
        if done is None:
            self._moved_cursors.add(name)
        else:
            self._moved_cursors.discard(name)
            self._database.write(_MOVE, (name, seq), done)

    # --- start ------------------------------------------------------------------------------

    def _load(self) -> None:
        read = self._database.read
        self._cursors = dict(read("SELECT name, seq FROM cursors"))
        head = self._cursors.pop(_HEAD_CURSOR, None)
        saved = self._cursors.pop(_ENTITIES_CURSOR, 0)
        unreadable = 0
        highest = saved
        for entity_id, text, seq in read("SELECT id, doc, seq FROM entities ORDER BY rowid"):
            entity = decode_entity(entity_id, text, seq)
            if entity is None:
                unreadable += 1
                continue
            self._entities[entity_id] = entity
            highest = max(highest, seq)
        if unreadable:
            log.error("%d entities could not be read and come back with their next report", unreadable)
        # Valid for one start only: rows will follow.
        self._database.write("DELETE FROM cursors WHERE name = ?", (_HEAD_CURSOR,))
        least = max([highest, *self._cursors.values()])
        self._journal.load(head if self._database.was_clean else None, least)
        # A repaired database may have lost entities that the journal still tells of.
        self._save_until = 0 if self._database.notes else saved
        self._replay(self._save_until)

    def _replay(self, after: int) -> None:
        while rows := self._journal.read_after(after, REPLAY_PAGE, None, None):
            for row in rows:
                self._replay_row(row)
            after = rows[-1].seq

    def _replay_row(self, row: JournalRow) -> None:
        entity = self._entities.get(row.entity)
        if entity is not None and entity.seq >= row.seq:
            return
        body = row.body
        if body.get("deleted"):
            if entity is not None:
                del self._entities[row.entity]
                self._dirty.discard(row.entity)
                self._deleted.add(row.entity)
            return
        if "attributes" not in body and "removed" not in body:
            return
        if entity is None:
            entity = self._entities[row.entity] = Entity(row.entity, body.get("type", "Thing"), row.at_ms)
        elif "type" in body:
            entity.type = body["type"]
        merge(entity, body.get("attributes"), tuple(body.get("removed", ())), row.at_ms)
        entity.modified_ms = row.at_ms
        entity.seq = row.seq
        self._dirty.add(row.entity)

    # --- after a commit ---------------------------------------------------------------------

    def _group_decided(self, last_ticket: int, lost: Collection[int]) -> None:
        rows, lost_rows = self._journal.group_decided(last_ticket, lost)
        for row in lost_rows:
            if "type" in row.body and row.entity in self._entities:
                self._unannounced.add(row.entity)
        if rows and self._followers:
            if self._loop is None:
                self._tell_followers(rows)
            else:
                # After the receipts: the devices wait for those.
                self._loop.call_soon(self._tell_followers, rows)

    def _tell_followers(self, rows: list[JournalRow]) -> None:
        for follower in list(self._followers):
            try:
                follower(rows)
            except Exception:
                # A follower is where a consumer ends: its mistake must not silence the others.
                log.exception("a follower of the journal failed")

    # --- saving -----------------------------------------------------------------------------

    def _tick(self) -> None:
        assert self._loop is not None
        delay_s = TICK_S
        try:
            self._ticks += 1
            if self._ticks % CURSOR_SAVE_TICKS == 0:
                self._save_cursors()
            if self._saving:
                self._save_slice()
                delay_s = TICK_S / 100
            elif self._save_is_due(self._loop.time()):
                self._saved_at = self._loop.time()
                self._begin_save()
        except StorageFull as error:
            self._saving = []
            log.warning("saving entities is put off: %s", error)
        self._timer = self._loop.call_later(delay_s, self._tick)

    def _save_is_due(self, now: float) -> bool:
        if not self._dirty and not self._deleted:
            return False
        rows = self._journal.head() - self._save_until
        if rows >= min(MAX_REPLAY_ROWS, self._journal.slots // 2):
            return True
        waited = now - self._saved_at
        period = self._database.settings.entity_save_s
        if waited < period:
            return False
        return rows >= ROWS_PER_SAVED_ENTITY * len(self._dirty) or waited >= 10 * period

    def save(self) -> None:
        """Save all changed entities and cursors now. Blocks; what fails is replayed at the next start."""
        try:
            self._save_cursors()
            if not self._saving:
                self._begin_save()
            while self._saving and not self._save_failed:
                for _ in range(SAVE_SLICE // 10):
                    self._save_slice()
                self._database.flush()
        except StorageFull as error:
            self._saving = []
            log.warning("entities are not saved, the next start replays the journal: %s", error)

    def _begin_save(self) -> None:
        """Take the changed entities, in the order of the table, so that its pages are written densely."""
        until = self._journal.head()
        if until == self._save_until and not self._dirty and not self._deleted:
            return
        self._save_failed = False
        for entity_id in self._deleted:
            self._database.write("DELETE FROM entities WHERE id = ?", (entity_id,), None, self._not_saved)
        self._deleted.clear()
        dirty = self._dirty
        self._saving = [entity_id for entity_id in self._entities if entity_id in dirty]
        self._saving.reverse()  # taken from the end
        self._next_save_until = until
        if not self._saving:
            self._database.write("SELECT 1", (), self._save_done, self._not_saved)

    def _save_slice(self) -> None:
        saving = self._saving
        for _ in range(min(SAVE_SLICE, len(saving))):
            entity_id = saving[-1]
            entity = self._entities.get(entity_id)
            last = len(saving) == 1
            if entity is not None:
                self._database.write(
                    _SAVE,
                    (entity_id, encode_entity(entity), entity.seq),
                    self._save_done if last else None,
                    self._not_saved,
                )
            elif last:
                self._database.write("SELECT 1", (), self._save_done, self._not_saved)
            saving.pop()
            self._dirty.discard(entity_id)

    def _save_done(self) -> None:
        if self._save_failed:
            return
        self._save_until = self._next_save_until
        try:
            self._database.write(_MOVE, (_ENTITIES_CURSOR, self._save_until))
        except StorageFull:
            log.info("the cursor of the entities moves with the next save")

    def _not_saved(self, error: StorageError) -> None:
        """Entities of a failed group are dirty again: all of them, the group does not say which."""
        self._save_failed = True
        self._dirty.update(self._entities)

    def _save_cursors(self) -> None:
        for name in list(self._moved_cursors):
            self._database.write(_MOVE, (name, self._cursors[name]))
            self._moved_cursors.discard(name)
