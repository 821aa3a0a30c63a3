"""CoAP exchanges become LwM2M operations, and operations become CoAP requests (OMA Transport 1.1.1 §6).

The law of this file: everything a device sends is handed up as an operation or answered here with an error;
nothing raises into the loop. What needs the disk is answered later, through the `Reply` or the
`Notification` that went up, and never before.

Longer than 400 lines, because it is the one place where both bearers, both CoAP machines and all requests
under way meet; what can be told apart from them lives in `requests`, `answers`, `resources`, `exchanges`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from appliance.coap import message as coap
from appliance.coap import options as option
from appliance.coap.client import Progress
from appliance.coap.endpoint import (
    Endpoint,
    Event,
    NotificationReceived,
    QueueFull,
    RequestReceived,
    ResponseReceived,
)
from appliance.coap.stream import StreamEndpoint
from appliance.coap.transmission import Transmission
from appliance.lwm2m.codecs import CodecError
from appliance.lwm2m.definitions import Definitions, Model
from appliance.lwm2m.operations import Create, Execute, ObjectList, Observe, ObserveComposite
from appliance.lwm2m.path import Path
from appliance.southbound.answers import read_notified, read_response
from appliance.southbound.client import Client, Peer, place, same_place
from appliance.southbound.coaps import DtlsBearer, LostSession, SessionEvent
from appliance.southbound.dtls.server import DtlsServer
from appliance.southbound.dtls.session import DtlsSession
from appliance.southbound.est import EnrolmentUplink
from appliance.southbound.exchanges import (
    EXCHANGE_LIFETIME_S,
    BootstrapUplink,
    Notification,
    Observation,
    Reply,
    Response,
    ServedFile,
    Source,
    Uplink,
)
from appliance.southbound.log import ProtocolLog
from appliance.southbound.oscore.context import LiveContexts
from appliance.southbound.oscore.layer import Oscore
from appliance.southbound.oscore.peer import OscorePeer
from appliance.southbound.requests import Downlink, Formats, candidates, encode_request
from appliance.southbound.resources import serve
from appliance.southbound.settings import CoapSettings, CoapsSettings
from appliance.southbound.tcp import TcpBearer, TcpPeer
from appliance.southbound.udp import UdpBearer, UdpPeer

__all__ = [
    "EXCHANGE_LIFETIME_S",
    "Downlink",
    "LwM2MServer",
    "Notification",
    "Observation",
    "Reply",
    "Response",
    "ServedFile",
    "SessionEvent",
    "Source",
    "Uplink",
]

log = logging.getLogger(__name__)


# An Observe leaves when fewer requests than these are open to its peer, so that the devices behind a gateway,
# which share one line of 64, leave room for what people ask.
_OBSERVES_IN_LINE = 32


class _Pending:
    """A request on its way: what was asked, what formats are left to try, who waits."""

    __slots__ = (
        "cancels",
        "candidates",
        "client",
        "deadline",
        "done",
        "observation",
        "operation",
        "peer",
        "progress",
        "tried",
    )

    def __init__(
        self,
        client: Client,
        operation: Downlink,
        deadline: float,
        done: Callable[[Response], None],
        candidates: Iterator[Formats],
        observation: Observation | None,
    ) -> None:
        self.client = client
        self.operation = operation
        self.deadline = deadline
        self.done = done
        self.candidates = candidates
        self.observation = observation
        self.cancels: Observation | None = None
        self.peer = client.peer
        self.progress: Progress | None = None
        self.tried = next(candidates, Formats())


class LwM2MServer:
    """The LwM2M server's face towards devices, over UDP and TCP, each with its CoAP machine."""

    def __init__(
        self,
        settings: CoapSettings,
        definitions: Definitions,
        loop: asyncio.AbstractEventLoop,
        wall: Callable[[], float],
        coaps: CoapsSettings | None = None,
        dtls: DtlsServer | None = None,
    ) -> None:
        """``dtls`` None, or ``coaps`` None or not enabled: without DTLS."""
        self._settings = settings
        self._definitions = definitions
        self._loop = loop
        self._wall = wall
        self._uplink: Uplink | None = None
        self._endpoint = Endpoint(
            Transmission(
                ack_timeout_s=settings.ack_timeout_s,
                ack_random_factor=settings.ack_random_factor,
                max_retransmit=settings.max_retransmit,
            ),
            max_body_bytes=settings.max_body_bytes,
        )
        self._bearer = UdpBearer(settings, loop, self._receive, self._pump)
        self._stream = StreamEndpoint(
            max_message_bytes=settings.tcp_max_message_bytes,
            csm_timeout_s=settings.tcp_csm_timeout_s,
            idle_s=settings.tcp_idle_s,
            max_body_bytes=settings.max_body_bytes,
            tap=self._tap_frame,
        )
        self._tcp = TcpBearer(
            settings, loop, self._connected, self._receive_stream, self._disconnected, self._pump
        )
        self._coaps: DtlsBearer | None = None
        self.session_event: Callable[[SessionEvent], None] = lambda _: None  # of DTLS: told in the loop
        if dtls is not None and coaps is not None and coaps.enabled:
            self._coaps = DtlsBearer(
                settings,
                coaps,
                dtls,
                loop,
                self._receive,
                lambda event: self.session_event(event),
                self._pump,
            )
        self._oscore: tuple[Oscore, Oscore] | None = None  # for datagrams, and for connections
        self._contexts: LiveContexts | None = None
        self._streaming = False  # there are connections, or something is left of them
        self.log: ProtocolLog | None = None  # is shown every message
        self.files: Callable[[str], ServedFile | None] = lambda _: None  # what devices fetch, by its link
        self.bootstrap: BootstrapUplink | None = None  # who bootstraps devices, if anybody
        self.enrolment: EnrolmentUplink | None = None  # who gives them certificates, if anybody
        self._pending: dict[int, _Pending] = {}
        self._open: dict[Client, set[int]] = {}  # the same by device, only those that wait for something
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = float("inf")
        self._pump_scheduled = False
        self._after_pump: list[Callable[[], None]] = []

    # Life

    @property
    def port(self) -> int:
        """The UDP port in use; 0 before `start`."""
        return self._bearer.port

    @property
    def tcp_port(self) -> int:
        """The TCP port in use; 0 when there is none."""
        return self._tcp.port

    @property
    def tcp(self) -> TcpBearer:
        """The TCP bearer, for its counters."""
        return self._tcp

    @property
    def coaps_port(self) -> int:
        """The UDP port of CoAP over DTLS in use; 0 when there is none."""
        return 0 if self._coaps is None else self._coaps.port

    @property
    def coaps(self) -> DtlsBearer | None:
        """The DTLS bearer, None when there is none."""
        return self._coaps

    @property
    def bearer(self) -> UdpBearer:
        """The UDP bearer, for its counters."""
        return self._bearer

    def protect(self, contexts: LiveContexts) -> None:
        """Speak OSCORE with whoever has a context, over every bearer. Before `start`."""
        self._contexts = contexts
        self._oscore = (
            Oscore(contexts, wake=self._schedule_pump),
            Oscore(contexts, reliable=True, wake=self._schedule_pump),
        )
        self._stream.shield = self._oscore[1]

    @property
    def oscore(self) -> Oscore | None:
        """OSCORE over datagrams, for its tables; None when it is not spoken."""
        return None if self._oscore is None else self._oscore[0]

    def start(self, uplink: Uplink) -> None:
        """Open the ports; from now on ``uplink`` is called. Raises PortInUse."""
        self._uplink = uplink
        if self._settings.nosec != "off":
            self._bearer.start()
        if self._settings.tcp and self._settings.tcp_nosec != "off":
            self._tcp.start(self._bearer.port or self._settings.port)
        if self._coaps is not None:
            self._coaps.start()

    def stop(self) -> None:
        """Close the ports; requests under way end as cancelled."""
        self._bearer.stop()
        if self._coaps is not None:
            self._coaps.stop()
        self._tcp.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, {}
        self._open.clear()
        for request in pending.values():
            request.done(Response(0, failure="cancelled"))
        if self._oscore is not None and self._contexts is not None:
            self._oscore[0].save()
            self._contexts.save()

    # Clients and observations

    def client(self, endpoint_name: str, peer: Peer, version: str, objects: ObjectList) -> Client:
        """A partner for requests, from what it registered."""
        if self.log is not None:
            self.log.name(peer, endpoint_name)
        return Client(
            endpoint_name,
            peer,
            version,
            objects,
            Model.of(self._definitions, objects.object_versions(version)),
        )

    def peer(self, stored: Sequence[object]) -> Peer:
        """The peer that its ``to_json`` wrote; raises ValueError on anything else."""
        if isinstance(stored, list) and stored[:1] == ["dtls"]:
            return LostSession(stored[1]) if self._coaps is None else self._coaps.restored(stored)
        if isinstance(stored, list) and stored[:1] == ["tcp"]:
            return TcpPeer.from_json(stored)
        if isinstance(stored, list) and stored[:1] == ["oscore"]:
            return OscorePeer.from_json(stored, self.peer)
        return UdpPeer.from_json(stored)

    def restore_observation(self, observation: Observation) -> None:
        """After a restart: notifications with this token are ours."""
        client, operation = observation.client, _observe(observation)
        used = observation.formats or next(candidates(client, operation, None))
        code, options, payload = encode_request(client, operation, used)
        self._endpoint.restore_observation(
            observation.token, observation, code=code, options=options, payload=bytes(payload)
        )

    def end_observation(self, observation: Observation) -> None:
        """Drop it on our side; the device hears it as the RST to its next notification (RFC 7641 §3.6)."""
        if observation.token:
            now = self._loop.time()
            if not self._endpoint.end_observation(observation.token, now):
                self._stream.end_observation(observation.token, now)
            for oscore in self._oscore or ():
                oscore.forget_observation(observation.token)

    def forget(self, client: Client) -> None:
        """The registration ended: end the requests that still wait for the device."""
        for request_id in sorted(self._open.get(client, ()), reverse=True):
            self._cancel(request_id)  # the last first: else each end would let the next one in line leave

    def follow(self, client: Client) -> None:
        """The device is at ``client.peer`` now: what it was asked at another address is asked there.

        What must not be done twice (Execute, Create) ends with the failure "moved": it may have been done.
        """
        if self.log is not None:
            self.log.name(client.peer, client.endpoint_name)
        now = self._loop.time()
        away: list[_Pending] = []
        for request_id in sorted(self._open.get(client, ()), reverse=True):
            pending = self._pending[request_id]
            if not same_place(pending.peer, client.peer):
                self._take(request_id)
                self._engine(pending.peer).cancel_request(request_id, now)
                away.append(pending)
        for pending in reversed(away):
            if isinstance(pending.operation, Execute | Create):
                pending.done(Response(0, failure="moved"))
                continue
            try:
                self._transmit(pending)
            except CodecError as error:  # its model went meanwhile
                pending.done(Response(0, failure="cancelled", warning=str(error)))

    def hasten(self, client: Client) -> None:
        """The device listens now, perhaps not for long: what it did not hear is said again at once."""
        if client in self._open:
            self._engine(client.peer).hasten(client.peer, self._loop.time())
            self._schedule_pump()

    # Requests to devices

    def request(
        self,
        client: Client,
        operation: Downlink,
        timeout_s: float,
        done: Callable[[Response], None],
        content_format: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Carry out one operation at a device; ``done`` is called once, later, with how it ended, and
        ``progress(bytes acknowledged, bytes in all)`` after each block of a body that goes in blocks.

        Where the content format is ours to choose and the device answers 4.06 or 4.15, the next one is tried
        (OMA Core §7.4); a ``content_format`` given is the only one. Raises CodecError when the values cannot
        be encoded, before anything is sent.
        """
        observation = None
        if isinstance(operation, Observe):
            observation = Observation(client, operation.path, self._wall(), (), operation.attributes)
        elif isinstance(operation, ObserveComposite):
            paths = operation.paths
            observation = Observation(client, Path(), self._wall(), paths, operation.attributes)
        choices = candidates(client, operation, content_format)
        pending = _Pending(client, operation, self._loop.time() + timeout_s, done, choices, observation)
        pending.progress = progress
        self._transmit(pending)

    async def send(
        self, client: Client, operation: Downlink, timeout_s: float, content_format: int | None = None
    ) -> Response:
        """`request` as a coroutine; never raises for what a device or the network does."""
        future: asyncio.Future[Response] = self._loop.create_future()

        def done(response: Response) -> None:
            if not future.done():
                future.set_result(response)

        self.request(client, operation, timeout_s, done, content_format)
        return await future

    async def cancel_observation(self, observation: Observation, timeout_s: float) -> Response:
        """`cancel` as a coroutine."""
        future: asyncio.Future[Response] = self._loop.create_future()

        def done(response: Response) -> None:
            if not future.done():
                future.set_result(response)

        self.cancel(observation, timeout_s, done)
        return await future

    def cancel(self, observation: Observation, timeout_s: float, done: Callable[[Response], None]) -> None:
        """Active cancel: the request that began it, with Observe 1 and the same token (RFC 7641 §3.6)."""
        client, operation = observation.client, _observe(observation)
        deadline = self._loop.time() + timeout_s
        used = observation.formats or next(candidates(client, operation, None))
        pending = _Pending(client, operation, deadline, done, iter((used,)), None)
        pending.cancels = observation
        self._transmit(pending)

    def _transmit(self, pending: _Pending) -> None:
        client, operation, cancel = pending.client, pending.operation, pending.cancels
        pending.peer = client.peer
        below = place(client.peer)
        if type(below) is LostSession or (type(below) is DtlsSession and below.closed):
            self._end_later(pending, "not connected")
            return
        code, options, payload = encode_request(client, operation, pending.tried)
        observes = pending.observation is not None
        if observes and self._engine(client.peer).open_requests(client.peer) >= _OBSERVES_IN_LINE:
            self._end_later(pending, "queue full")
            return
        try:
            request_id = self._engine(client.peer).send_request(
                client.peer,
                code,
                options,
                payload,
                now=self._loop.time(),
                deadline=pending.deadline,
                key=pending.observation if pending.observation is not None else cancel,
                observe=observes,
                token=cancel.token if cancel is not None else None,
                observe_cancel=cancel is not None,
                progress=pending.progress,
            )
        except QueueFull:
            self._end_later(pending, "queue full")
            return
        except ConnectionError:
            self._end_later(pending, "not connected")
            return
        self._pending[request_id] = pending
        self._open.setdefault(client, set()).add(request_id)
        self._schedule_pump()

    def _end_later(self, pending: _Pending, failure: str) -> None:
        """It could not leave. Told in a moment: whoever asks again at once must not go round in circles."""
        self._after_pump.append(partial(pending.done, Response(0, failure=failure)))
        self._schedule_pump()

    def _take(self, request_id: int) -> _Pending | None:
        """A request is over: whose it was; None when it was taken before."""
        pending = self._pending.pop(request_id, None)
        if pending is not None:
            still = self._open[pending.client]
            still.discard(request_id)
            if not still:
                del self._open[pending.client]
        return pending

    def _cancel(self, request_id: int) -> None:
        now = self._loop.time()
        engine = self._endpoint if request_id > 0 else self._stream
        for event in engine.cancel_request(request_id, now):
            self._dispatch(event, now)

    # From the engine

    def _engine(self, peer: Peer) -> Endpoint | StreamEndpoint:
        return self._stream if type(place(peer)) is TcpPeer else self._endpoint

    def _source(self, peer: Peer) -> Source:
        if type(peer) is OscorePeer:
            return Source(peer, self._source(peer.below).bearer, peer.identity)
        if type(peer) is TcpPeer:
            return Source(peer, self._tcp.name, self._tcp.identity(peer))
        if type(peer) is DtlsSession:
            return Source(peer, DtlsBearer.name, peer.identity)
        assert isinstance(peer, UdpPeer)
        return Source(peer, self._bearer.name, self._bearer.identity(peer))

    def _connected(self, peer: TcpPeer, now: float) -> None:
        self._streaming = True
        self._stream.opened(peer, now)

    def _receive_stream(self, data: bytes, peer: TcpPeer, now: float) -> None:
        for event in self._stream.receive(data, peer, now):
            self._dispatch(event, now)

    def _disconnected(self, peer: TcpPeer, now: float) -> None:
        """A connection is gone: what was asked over it ends, and what was observed (RFC 8323 §7.4)."""
        for event in self._stream.closed(peer, now):
            self._dispatch(event, now)
        if self._uplink is not None:
            self._uplink.disconnected(peer)

    def _tap_frame(self, incoming: bool, peer: TcpPeer, data: bytes) -> None:
        if self.log is not None:
            self.log.record(incoming, self._tcp.name, peer, data)

    def _receive(self, data: bytes, peer: UdpPeer | DtlsSession, now: float) -> None:
        if self._oscore is not None:
            for opened, above in self._oscore[0].receive(data, peer, now):
                self._receive_plain(opened, above, now)
        else:
            self._receive_plain(data, peer, now)

    def _receive_plain(self, data: bytes, peer: Peer, now: float) -> None:
        if self.log is not None:
            name = self._bearer.name if type(place(peer)) is UdpPeer else DtlsBearer.name
            self.log.record(True, name, peer, data)
        for event in self._endpoint.receive_datagram(data, peer, now):
            self._dispatch(event, now)

    def _take_opened(self, datagrams: Oscore, connections: Oscore) -> None:
        """What OSCORE has handed up only when it was on disk that it came."""
        now = self._loop.time()
        for data, peer in datagrams.take_opened():
            self._receive_plain(data, peer, now)
        for data, peer in connections.take_opened():
            for event in self._stream.receive_opened(data, peer, now):
                self._dispatch(event, now)

    def _dispatch(self, event: Event, now: float) -> None:
        if isinstance(event, NotificationReceived):
            self._on_notification(event, now)
        elif isinstance(event, RequestReceived):
            self._on_request(event)
        elif isinstance(event, ResponseReceived):
            self._on_response(event)
        else:
            pending = self._take(event.request_id)
            if pending is not None:
                pending.done(Response(0, failure=event.reason))

    def _on_request(self, request: RequestReceived) -> None:
        assert self._uplink is not None
        source = self._source(request.peer)
        serve(request, source, self._uplink, self, self.files, self.bootstrap, self.enrolment)

    def answer(
        self,
        request: RequestReceived,
        code: int,
        options: Iterable[tuple[int, bytes]] = (),
        payload: bytes | memoryview = b"",
        then: Callable[[], None] | None = None,
    ) -> None:
        """Answer a request of a device; ``then`` runs when the answer is on the wire."""
        self._engine(request.peer).respond(request, code, payload, tuple(options), now=self._loop.time())
        if then is not None:
            self._after_pump.append(then)
        self._schedule_pump()

    def _on_response(self, event: ResponseReceived) -> None:
        pending = self._take(event.request_id)
        if pending is None:
            return
        message = event.message
        if message.code in (coap.NOT_ACCEPTABLE, coap.UNSUPPORTED_CONTENT_FORMAT):
            another = next(pending.candidates, None)
            if another is not None:
                pending.tried = another
                try:
                    self._transmit(pending)
                except CodecError as error:
                    pending.done(Response(message.code, rtt_s=event.rtt_s, warning=str(error)))
                return
        observation = pending.observation
        if observation is not None and event.observing:
            observation.token = event.token
            observation.formats = pending.tried
            observation.number = option.find_uint(message.options, option.OBSERVE)
            observation.number_at = self._loop.time()
        else:
            observation = None
        response = read_response(
            pending.client, pending.operation, message, pending.tried, event.rtt_s, observation, self._wall()
        )
        pending.done(response)

    def _on_notification(self, event: NotificationReceived, now: float) -> None:
        assert self._uplink is not None
        observation: Observation = event.key
        client = observation.client
        source = self._source(event.peer)
        identity = source.identity
        moved = event.peer is not client.peer and not same_place(event.peer, client.peer)
        if identity != client.identity or (moved and identity is None):
            # Over NoSec anybody can send from anywhere. Silence, as a RST would end the real observation.
            self._engine(event.peer).refuse_notification(event, now, reset=False)
            self._uplink.strange_notification(observation, source)
            return
        message = event.message
        number = event.observe
        if not event.final and number is not None:
            # A connection keeps the order, so the number says nothing there, and may be none (RFC 8323 §7.1).
            ordered = type(event.peer) is TcpPeer
            if not ordered and not observation.takes(number, message.mid, now):
                # Overtaken, or seen: a receipt is all it gets.
                self._engine(event.peer).accept_notification(event, now)
                return
            content_format = option.find_uint(message.options, option.CONTENT_FORMAT)
            reports, warning = read_notified(observation, content_format, message.payload, self._wall())
            self._uplink.notify(Notification(observation, source, reports, 0, warning, event))
            return
        # An error, or an answer without Observe, ends the observation (RFC 7641 §3.2, §4.2).
        text = message.payload.decode(errors="replace")[:200] if message.code >= 0x80 else ""
        self._uplink.notify(Notification(observation, source, (), message.code, text, event))

    def accept(self, notification: Notification) -> None:
        """It is on disk: acknowledge it."""
        event = notification.event
        self._engine(event.peer).accept_notification(event, self._loop.time())
        self._schedule_pump()

    def refuse(self, notification: Notification, *, reset: bool) -> None:
        """It was not taken: RST ends the observation at the device, silence makes it try again."""
        event = notification.event
        self._engine(event.peer).refuse_notification(event, self._loop.time(), reset=reset)
        self._schedule_pump()

    # The pump

    def _schedule_pump(self) -> None:
        """Transmit once per turn of the loop, however many answers a commit released."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._scheduled_pump)

    def _scheduled_pump(self) -> None:
        self._pump_scheduled = False
        if self._oscore is not None:
            self._take_opened(*self._oscore)
        self._pump()

    def _pump(self) -> None:
        transmit, coaps = self._bearer.transmit, self._coaps
        log_it = None if self.log is None else self.log.record
        for data, peer in self._endpoint.take_datagrams():
            if type(peer) is UdpPeer:
                if log_it is not None:
                    log_it(False, "UDP", peer, data)
                transmit(data, peer)
            elif type(peer) is OscorePeer:
                if self._oscore is not None:
                    self._oscore[0].send(data, peer, self._loop.time())
                    if log_it is not None:
                        log_it(False, "UDP" if type(peer.below) is UdpPeer else DtlsBearer.name, peer, data)
            elif coaps is not None and coaps.transmit(data, peer) and log_it is not None:
                log_it(False, DtlsBearer.name, peer, data)
        for data, peer in () if self._oscore is None else self._oscore[0].take_datagrams():
            if type(peer) is UdpPeer:
                transmit(data, peer)
            elif coaps is not None:
                coaps.transmit(data, peer)
        due = self._endpoint.next_timer()
        if coaps is not None:
            later = coaps.flush()
            if later is not None and (due is None or later < due):
                due = later
        if self._streaming:
            for data, peer in self._stream.take_outgoing(self._loop.time()):
                self._tcp.transmit(data, peer)
            for peer in self._stream.take_closing():
                self._tcp.close(peer)
            later = self._stream.next_timer()
            if later is not None and (due is None or later < due):
                due = later
            self._streaming = later is not None or self._stream.connections > 0
        if due is not None and due < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_due = due
            self._timer = self._loop.call_at(due, self._on_timer)
        if self._after_pump:
            self._run_after()

    def _run_after(self) -> None:
        """What waited for its answer to leave. What one of them starts leaves in the next turn."""
        after, self._after_pump = self._after_pump, []
        for then in after:
            try:
                then()
            except Exception:  # a turn of the room above ends here; other devices, and this loop, go on
                log.exception("what was to follow an answer failed")

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_due = float("inf")
        now = self._loop.time()
        for event in self._endpoint.handle_timer(now):
            self._dispatch(event, now)
        if self._coaps is not None:
            self._coaps.handle_timer(now)
        if self._streaming:
            for event in self._stream.handle_timer(now):
                self._dispatch(event, now)
        self._pump()


def _observe(observation: Observation) -> Observe | ObserveComposite:
    """The operation that began it."""
    if observation.paths:
        return ObserveComposite(observation.paths, observation.attributes)
    return Observe(observation.path, observation.attributes)
