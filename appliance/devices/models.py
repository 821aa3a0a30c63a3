"""The user's own object definitions, one XML file each in the state folder."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from appliance.lwm2m.ddf import DdfError, parse_ddf
from appliance.lwm2m.definitions import Definitions

log = logging.getLogger(__name__)


class ModelStore:
    """Files ``{object id}-{version}.xml``, read at start and written before a model counts."""

    def __init__(self, folder: Path, definitions: Definitions) -> None:
        self._folder = folder
        self._definitions = definitions

    def load(self) -> None:
        """Take in every file; one that cannot be read is named in the log and left where it is."""
        if not self._folder.is_dir():
            return
        for file in sorted(self._folder.glob("*.xml")):
            try:
                self._definitions.add(parse_ddf(file.read_bytes()))
            except (DdfError, OSError) as error:
                log.warning("the object definition %s is left out: %s", file, error)

    def store(self, object_id: int, version: str, xml: bytes | None) -> None:
        """Write, or with None remove, one definition; on disk when this returns. Raises OSError."""
        file = self._folder / f"{object_id}-{version}.xml"
        if xml is None:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        aside = file.with_suffix(".tmp")
        with aside.open("wb") as handle:
            handle.write(xml)
            handle.flush()
            os.fsync(handle.fileno())
        aside.rename(file)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
