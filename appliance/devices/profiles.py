"""Profile ids: a device of LwM2M 1.2 may name a profile in place of a list (OMA Core 1.2.1 §6.2.1).

What a profile stands for is told by a person, or learned from the first device that names it beside its list.
How the id is computed from the list is not defined in a way that could be checked, so a learned profile is
only as good as its first device: people see it and can correct it, and theirs is never overwritten.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path as File
from typing import Any, Final

from tinydb import where

from appliance.devices.errors import DeviceError, durably
from appliance.lwm2m.operations import ObjectList, Parameters
from appliance.lwm2m.registration import RegistrationError, read_object_list
from appliance.storage.documents import open_documents

log = logging.getLogger(__name__)

MAX_PROFILES: Final = 200
MAX_LINKS: Final = 4096  # characters of a learned profile; a person may write more
_MAX_LINKS: Final = 65_536
_PID = re.compile(r"[\x21-\x7e]{1,80}")


class Profiles:
    """The document of profiles: pid -> object list in link format."""

    def __init__(self, folder: File) -> None:
        self._documents = open_documents(folder, "profiles")
        self._known: dict[str, tuple[str, bool]] = {}  # pid -> links, learned
        for document in self._documents.table("profiles").all():
            self._known[str(document["pid"])] = (str(document["links"]), bool(document["learned"]))

    def resolve(self, pids: tuple[str, ...], given: ObjectList) -> ObjectList | None:
        """The objects that the profiles and the list stand for together; None when they must be listed.

        A profile that is not known is learned from a list that comes with that profile alone.
        """
        unknown = [pid for pid in pids if pid not in self._known]
        if not given.payload:
            if unknown:
                return None
        elif unknown:
            if len(pids) == 1:
                self._learn(pids[0], given)
            if len(unknown) == len(pids):
                return given
        known = [self._known[pid][0] for pid in pids if pid in self._known]
        text = ",".join(dict.fromkeys([*known, *([given.payload.decode()] if given.payload else [])]))
        if text.encode() == given.payload:
            return given
        try:
            return read_object_list(text.encode())
        except RegistrationError as error:
            log.warning("the lists of %s do not go together: %s", ", ".join(pids), error)
            return given if given.payload else None

    def _learn(self, pid: str, given: ObjectList) -> None:
        if _PID.fullmatch(pid) is None or len(given.payload) > MAX_LINKS:
            return
        if len(self._known) >= MAX_PROFILES:
            log.warning("profile %s is not kept: there are %d already", pid, MAX_PROFILES)
            return
        try:
            self._store(pid, given.payload.decode(), learned=True)
        except DeviceError as error:
            log.warning("profile %s is not kept: %s", pid, error)

    def rows(self, counts: Mapping[str, int]) -> list[dict[str, Any]]:
        """All profiles in the shape of the API, in their order; ``counts`` are devices by pid."""
        return [{**self._row(pid), "devices": counts.get(pid, 0)} for pid in sorted(self._known)]

    def put(self, pid: str, links: str) -> dict[str, Any]:
        """Say what a profile stands for. Raises DeviceError."""
        pid = _canonical(pid)
        if _PID.fullmatch(pid) is None:
            raise DeviceError(
                "invalid", "a profile id is 1 to 80 printable characters", "Write it like 6:27354b9a."
            )
        if pid not in self._known and len(self._known) >= MAX_PROFILES:
            raise DeviceError("busy", f"there are {MAX_PROFILES} profiles already", "Remove one.")
        try:
            if len(links) > _MAX_LINKS or not read_object_list(links.encode()).objects:
                raise DeviceError("invalid", "the list names no object", "Write it like </1/0>,</3/0>.")
        except (RegistrationError, UnicodeEncodeError) as error:
            raise DeviceError("invalid", str(error), "Write it like </1/0>,</3/0>.") from error
        self._store(pid, links, learned=False)
        return self._row(pid)

    def remove(self, pid: str) -> None:
        """Forget a profile: the next device that names it is asked for its list. Raises DeviceError."""
        pid = _canonical(pid)
        if pid not in self._known:
            raise DeviceError(
                "not_found", f"no profile has the id {pid[:80]!r}", "GET /api/v1/profiles lists them."
            )
        with durably():
            self._documents.table("profiles").remove(where("pid") == pid)
        del self._known[pid]

    def _row(self, pid: str) -> dict[str, Any]:
        links, learned = self._known[pid]
        return {"pid": pid, "links": links, "learned": learned}

    def _store(self, pid: str, links: str, *, learned: bool) -> None:
        row = {"pid": pid, "links": links, "learned": learned}
        with durably():
            self._documents.table("profiles").upsert(row, where("pid") == pid)
        self._known[pid] = (links, learned)


def pids_of(parameters: Parameters) -> list[str]:
    """The profile ids among the parameters of a registration: one, or several in quotes with commas."""
    found = [value.strip('"') for name, value in parameters if name == "pid" and value]
    return [_canonical(one.strip()) for text in found for one in text.split(",")]


def _canonical(pid: str) -> str:
    """A hash is written in small letters."""
    return pid.lower() if pid[:1].isdigit() else pid
