"""What this room needs of the rooms below, as protocols; everything is JSON-able.

Failures of ``Devices`` are exceptions shaped like `Refusal`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Refusal(Protocol):
    """An exception that says what went wrong to programs (``kind``) and to people."""

    kind: str
    message: str
    next_step: str


class Row(Protocol):
    """One row of the journal, as far as this room looks at it."""

    @property
    def seq(self) -> int:
        """Its number; later rows have higher ones."""

    @property
    def kind(self) -> str:
        """What happened."""

    @property
    def entity(self) -> str:
        """The device it happened to."""


class Broker(Protocol):
    """The journal. May be called from any thread."""

    def head(self) -> int:
        """Number of the newest row on disk."""

    def oldest(self) -> int:
        """The lowest number that may still be in the journal."""

    def read_last(self, limit: int, entity: str | None = None) -> Sequence[Any]:
        """The newest rows, oldest first, of one entity or of all."""

    def read_after(self, seq: int, limit: int, entity: str | None = None) -> Sequence[Any]:
        """Rows after a number, oldest first, of one entity or of all."""

    def wait_after(self, seq: int, timeout_s: float) -> bool:
        """Wait until there is a row after the number; whether there is one."""


class Devices(Protocol):
    """Look at devices and operate them. Called in the event loop only."""

    def list_devices(
        self,
        *,
        search: str = "",
        state: str = "",
        after: str = "",
        limit: int = 200,
        among: Callable[[str], bool] | None = None,
    ) -> dict[str, Any]:
        """A page of devices; ``among`` says which endpoint names there are for who asks."""

    def device(self, endpoint_name: str, /) -> dict[str, Any]:
        """One device."""

    def objects(self, endpoint_name: str, /) -> dict[str, Any]:
        """Its objects."""

    def values(self, endpoint_name: str, path: str, /) -> dict[str, Any]:
        """Its last known values."""

    def event(self, row: Any, /) -> dict[str, Any]:
        """A row of the journal in the shape of the API."""

    def operate(
        self, endpoint_name: str, request: Mapping[str, Any], origin: str, /
    ) -> Awaitable[dict[str, Any]]:
        """One operation: its outcome, or the task that waits for the device."""

    def submit(
        self, request: Mapping[str, Any], origin: str, among: Callable[[str], bool] | None = None, /
    ) -> Awaitable[dict[str, Any]]:
        """One operation for many devices, as tasks of one batch; ``among`` as above."""

    def tasks(
        self,
        endpoint_name: str = "",
        state: str = "",
        batch: str = "",
        after: int = 0,
        limit: int = 200,
    ) -> dict[str, Any]:
        """A page of tasks, newest first; ``after`` is the ``next`` of the page before."""

    def task(self, task_id: int, /) -> dict[str, Any]:
        """One task."""

    def cancel_task(self, task_id: int, /) -> Awaitable[dict[str, Any]]:
        """Give up a task that is not done."""

    def retry_task(self, task_id: int, origin: str, /) -> Awaitable[dict[str, Any]]:
        """The same once more, as a task of its own."""

    def set_awake(self, endpoint_name: str, awake_s: float | None, /) -> Any:
        """How long a device listens after a message; None: learned."""

    def timeline(self, endpoint_name: str, before: int, limit: int, /) -> dict[str, Any]:
        """Its events, newest first."""

    def observations(self, endpoint_name: str, /) -> dict[str, Any]:
        """What is observed."""

    def observe(
        self, endpoint_name: str, path: str, attributes: Mapping[str, Any], /
    ) -> Awaitable[dict[str, Any]]:
        """Observe a path from now on."""

    def cancel_observation(self, endpoint_name: str, path: str, /) -> Awaitable[dict[str, Any]]:
        """Stop observing."""

    def observe_composite(
        self, endpoint_name: str, request: Mapping[str, Any], /
    ) -> Awaitable[dict[str, Any]]:
        """Observe several paths as one from now on."""

    def templates(self) -> dict[str, Any]:
        """Templates of observations."""

    def put_template(self, template_id: str | None, body: Mapping[str, Any], /) -> dict[str, Any]:
        """Make a template, or change one."""

    def remove_template(self, template_id: str, /) -> None:
        """Take a template out; what it observed ends."""

    def profiles(self) -> dict[str, Any]:
        """Known profiles."""

    def put_profile(self, pid: str, links: str, /) -> dict[str, Any]:
        """Know what a profile id stands for."""

    def remove_profile(self, pid: str, /) -> None:
        """Forget a profile."""

    def remove(self, endpoint_name: str, /) -> Awaitable[None]:
        """Forget a device."""

    def models(self) -> dict[str, Any]:
        """Object definitions."""

    def model(self, object_id: int, version: str | None, /) -> dict[str, Any]:
        """One object definition."""

    def add_model(self, xml: bytes, /) -> dict[str, Any]:
        """Take in an object definition."""

    def remove_model(self, object_id: int, version: str, /) -> None:
        """Take out one of the user's own."""


class ProtocolLog(Protocol):
    """The newest CoAP messages. May be called from any thread; ``wanted`` are the log's filters
    by name."""

    @property
    def head(self) -> int:
        """Number of the newest message."""

    @property
    def oldest(self) -> int:
        """The lowest number that is still there."""

    def read(self, after: int, limit: int, wanted: Mapping[str, str], /) -> dict[str, Any]:
        """Entries after a number, redacted."""

    def read_last(self, limit: int, wanted: Mapping[str, str], /) -> dict[str, Any]:
        """The newest entries."""

    def text(self, wanted: Mapping[str, str], /) -> Iterator[bytes]:
        """The same as lines for people."""

    def pcap(self, wanted: Mapping[str, str], /) -> Iterator[bytes]:
        """The same as a packet capture."""


class StoredFile(Protocol):
    """A row of the file store."""

    @property
    def id(self) -> str:
        """SHA-256 of the content."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""

    @property
    def type(self) -> str:
        """Its media type."""

    @property
    def added_at(self) -> float:
        """Epoch seconds."""

    @property
    def link(self) -> str:
        """By which devices fetch it."""

    @property
    def damaged(self) -> str:
        """Why it is not served, "" when it is."""


class FileContent(Protocol):
    """The bytes of a stored file."""

    @property
    def file(self) -> StoredFile:
        """Its row."""

    @property
    def data(self) -> memoryview:
        """The bytes, mapped."""

    @property
    def etag(self) -> bytes:
        """Its first eight bytes of hash."""


class Files(Protocol):
    """The file store. May be called from any thread; failures are shaped like `Refusal`."""

    @property
    def max_file_bytes(self) -> int:
        """Largest file."""

    @property
    def max_total_bytes(self) -> int:
        """All files together."""

    @property
    def total_bytes(self) -> int:
        """What they take now."""

    def all(self) -> Sequence[StoredFile]:
        """Every file, the newest first."""

    def find(self, file_id: str, /) -> StoredFile:
        """One file."""

    def by_link(self, link: str, /) -> FileContent | None:
        """A file's bytes by its link."""

    def add(self, read: Callable[[int], bytes], size_bytes: int, name: str, media_type: str, /) -> StoredFile:
        """Take in a file."""

    def remove(self, file_id: str, /) -> None:
        """Take a file out."""


class Acceptance(Protocol):
    """Letting a stranger in. Failures are shaped like `Refusal`."""

    def carry_out(self, vault: Any, by: str, /) -> Any:
        """Put it into the vault and answer its device; waits for the disk, so not in the event loop."""


class Security(Protocol):
    """What devices do with their keys. Failures are shaped like `Refusal`."""

    def contact(self, endpoint_name: str, /) -> dict[str, Any]:
        """How far a device has come: {"state", "text", "at"}. Any thread."""

    def used(self, identity: str, /) -> dict[str, Any]:
        """{"last_used_at", "last_failure"} of an identity. Any thread."""

    def strangers(self) -> list[dict[str, Any]]:
        """Who knocked and was not let in, the newest first. Any thread."""

    def ignore(self, stranger_id: int, /) -> dict[str, Any]:
        """Do not show it any more. Event loop."""

    def block(self, stranger_id: int, /) -> dict[str, Any]:
        """Never let it in. Event loop."""

    def forget(self, stranger_id: int, /) -> None:
        """Take it off the list. Event loop."""

    def acceptance(self, stranger_id: int, endpoint_name: str | None, /) -> Acceptance:
        """What letting it in comes down to. Event loop."""

    def accepted(self, stranger_id: int, /) -> None:
        """It is in the vault now. Event loop."""


class Bootstrap(Protocol):
    """Bootstrap plans and sessions. Called in the event loop only; failures are shaped like `Refusal`."""

    def plans(self) -> dict[str, Any]:
        """Every plan, the default one first."""

    def plan(self, plan_id: str, /) -> dict[str, Any]:
        """One plan."""

    def put_plan(self, plan_id: str | None, body: Mapping[str, Any], /) -> dict[str, Any]:
        """Make a plan, or change one."""

    def remove_plan(self, plan_id: str, /) -> None:
        """Forget a plan that no device has."""

    def check_plan(self, body: object, /) -> dict[str, Any]:
        """What is wrong with a plan, and what is odd about it."""

    def sessions(self, endpoint_name: str = "", limit: int = 50) -> dict[str, Any]:
        """Sessions, the newest first."""

    def session(self, session_id: int, /) -> dict[str, Any]:
        """One session, step by step."""
