"""The northbound room: everything above put together, started and stopped."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from appliance.identity.identity import Identity
from appliance.northbound.application import ALL_ROUTES, build
from appliance.northbound.certificate import Certificate
from appliance.northbound.crossing import Crossing
from appliance.northbound.listener import Listener
from appliance.northbound.neighbours import Broker, Devices, Files, ProtocolLog
from appliance.northbound.openapi import document
from appliance.northbound.routes import Room, Trust
from appliance.northbound.settings import HttpSettings
from appliance.northbound.slots import Slots
from appliance.northbound.stream import Feed
from appliance.vault.authority import Authority

log = logging.getLogger(__name__)

START_TIMEOUT_S: Final = 30.0


class Northbound:
    """HTTP on one port. Made with the event loop that ``devices`` and ``status`` live in.

    ``web`` is the folder of the page's files, ``authority`` issues the certificate, ``state`` is the folder
    below which units of before kept theirs (in ``tls``), ``status`` gives the body of GET /status and is
    called in the loop.
    """

    def __init__(
        self,
        settings: HttpSettings,
        *,
        devices: Devices,
        broker: Broker,
        identity: Identity,
        authority: Authority,
        loop: asyncio.AbstractEventLoop,
        web: Path,
        state: Path,
        status: Callable[[], dict[str, Any]],
        log: ProtocolLog,
        files: Files,
        trust: Trust | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._state = state
        self._authority = authority
        self._wall = wall
        self._crossing = Crossing(loop, settings.call_timeout_s)
        self._feed = Feed(
            broker,
            self._events,
            max_streams=settings.max_streams,
            keep_alive_s=settings.keep_alive_s,
            max_replay=settings.max_replay,
        )
        self._devices = devices
        self._closing = threading.Event()
        self._room = Room(
            settings=settings,
            devices=devices,
            broker=broker,
            identity=identity,
            crossing=self._crossing,
            feed=self._feed,
            # A quarter of the threads is always left for what does not wait for a device.
            # One address has half of the threads (listener.py); one of those is left for its page.
            operations=Slots(
                max(1, settings.threads * 3 // 4), max(1, settings.threads // 2 - 1), "operations"
            ),
            status=status,
            web=web,
            document=self._document,
            log=log,
            log_places=Slots(settings.max_log_streams, settings.max_log_streams, "looks at the log"),
            files=files,
            # Files may take long: most threads are left for others, and for other addresses.
            transfers=Slots(
                max(1, settings.threads // 3), max(1, settings.threads // 4), "transfers of files"
            ),
            closing=self._closing,
            trust=trust,
        )
        self._certificate: Certificate | None = None
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and serve; returns when requests are answered. Not to be called in the loop's thread.

        Raises OSError when the port is taken, OSError or ValueError for a certificate of the user's own that
        cannot be used, VaultError when the authority cannot issue one.
        """
        if self._settings.tls:
            own = None
            if self._settings.certificate_file:
                own = (Path(self._settings.certificate_file), Path(self._settings.key_file))
            self._certificate = Certificate(
                self._authority, self._wall, self._settings.host_names, own, self._state / "tls"
            )
        listener = Listener(self._settings, build(self._room), self._certificate)
        largest = (route.upload_limit for route in ALL_ROUTES)
        listener.max_request_body_size = max(
            listener.max_request_body_size, self._room.files.max_file_bytes, *largest
        )
        listener.bind_fallback()
        ready = threading.Event()
        failure: list[BaseException] = []

        def serve() -> None:
            try:
                listener.prepare()
            except BaseException as error:  # noqa: BLE001 - it belongs to the thread that starts
                failure.append(error)
                return
            finally:
                ready.set()
            listener.serve()

        # A daemon, as its workers become by inheritance: a thread that hangs must not keep the process alive.
        self._thread = threading.Thread(target=serve, name="http", daemon=True)
        self._thread.start()
        if not ready.wait(START_TIMEOUT_S):
            raise OSError("the HTTP server did not start in time")
        if failure:
            raise failure[0]
        self._listener = listener
        log.info("serving on port %d", self.port)

    def stop(self) -> None:
        """End streams, send waiting requests away, close every connection. Not in the loop's thread."""
        self._closing.set()
        self._feed.close()
        self._crossing.close()
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        if self._thread is not None:
            self._thread.join(START_TIMEOUT_S)
            self._thread = None

    @property
    def port(self) -> int:
        """The TCP port in use; 0 before the start."""
        return int(self._listener.bind_addr[1]) if self._listener is not None else 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate as browsers show it, ``""`` without TLS."""
        return self._certificate.fingerprint if self._certificate is not None else ""

    def _events(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._crossing.call(lambda: [self._devices.event(row) for row in rows])
        return found

    def _document(self) -> dict[str, Any]:
        status = self._crossing.call(self._room.status)
        return document(ALL_ROUTES, str(status.get("version", "")))
