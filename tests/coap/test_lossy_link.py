"""Two endpoints and a link that loses, repeats and delays datagrams: what must be true all the same."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest

from appliance.coap import message as m
from appliance.coap.endpoint import (
    Endpoint,
    NotificationReceived,
    RequestFailed,
    RequestReceived,
    ResponseReceived,
)
from appliance.coap.message import Message, encode
from appliance.coap.options import find_uint, path_options
from appliance.coap.transmission import Transmission


class Link:
    """A link between "server" and "device". ``loses``: the share of datagrams that never arrive; as many
    arrive twice, and each is late by up to ``late_s``.
    """

    def __init__(self, seed: int, loses: float, late_s: float = 0.3) -> None:
        self.rng = random.Random(seed)
        self.loses = loses
        self.late_s = late_s
        self.now = 0.0
        self.ends = {
            name: Endpoint(Transmission(max_retransmit=8), rng=random.Random(seed + turn))
            for turn, name in enumerate(("server", "device"))
        }
        self.on_the_way: list[tuple[float, int, bytes, str, str]] = []
        self.turns = count()
        self.received: dict[str, list[object]] = {"server": [], "device": []}

    def carry(self) -> None:
        for sender, end in self.ends.items():
            for data, receiver in end.take_datagrams():
                for _ in range(2 if self.rng.random() < self.loses else 1):
                    if self.rng.random() >= self.loses:
                        at = self.now + self.rng.random() * self.late_s
                        entry = (at, next(self.turns), data, sender, str(receiver))
                        heapq.heappush(self.on_the_way, entry)

    def run(self, until: float) -> None:
        """Let everything happen that is due before ``until``."""
        while True:
            self.carry()
            due = [at for at in (end.next_timer() for end in self.ends.values()) if at is not None]
            if self.on_the_way:
                due.append(self.on_the_way[0][0])
            if not due or min(due) > until:
                self.now = until
                return
            self.now = max(self.now, min(due))
            while self.on_the_way and self.on_the_way[0][0] <= self.now:
                _, _, data, sender, receiver = heapq.heappop(self.on_the_way)
                for event in self.ends[receiver].receive_datagram(data, sender, self.now):
                    self.happens(receiver, event)
            for name, end in self.ends.items():
                for event in end.handle_timer(self.now):
                    self.happens(name, event)

    def happens(self, name: str, event: object) -> None:
        self.received[name].append(event)
        end = self.ends[name]
        if isinstance(event, RequestReceived):
            payload = event.message.payload
            if event.message.code == m.GET:
                end.respond(event, m.CONTENT, b"body " * 600, now=self.now)
            elif len(payload) % 3 == 1 and self.rng.random() < 0.5:
                end.acknowledge(event, self.now)
                end.respond(event, m.CHANGED, payload[:5], now=self.now)
            else:
                end.respond(event, m.CHANGED, payload[:5], now=self.now)
        elif isinstance(event, NotificationReceived):
            end.accept_notification(event, self.now)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("loses", [0.0, 0.1, 0.3])
def test_every_request_is_executed_once_and_ends_once(seed: int, loses: float) -> None:
    link = Link(seed, loses)
    bodies = [bytes((number,)) * (1 + number * 37) for number in range(60)]
    for number, body in enumerate(bodies):
        options = path_options(f"/{number}")
        link.ends["server"].send_request(
            "device", m.POST, options, body, now=link.now, deadline=1e9, key=number
        )
    link.run(20_000.0)
    executed = [
        event.message.payload for event in link.received["device"] if isinstance(event, RequestReceived)
    ]
    assert sorted(executed) == sorted(bodies)
    ends = link.received["server"]
    assert sorted(event.key for event in ends if isinstance(event, ResponseReceived)) == list(range(60))
    assert all(
        event.message.payload == bodies[event.key][:5]
        for event in ends
        if isinstance(event, ResponseReceived)
    )
    for end in link.ends.values():
        sizes = end.table_sizes()
        sizes.pop("message_ids")
        assert not any(sizes.values()), sizes


@pytest.mark.parametrize("seed", range(5))
def test_bodies_arrive_whole_over_a_lossy_link_both_ways(seed: int) -> None:
    link = Link(seed, 0.2)
    server = link.ends["server"]
    upload = random.Random(seed).randbytes(9000)
    server.send_request("device", m.PUT, path_options("/5/0/0"), upload, now=0.0, deadline=600.0, key="up")
    server.send_request("device", m.GET, path_options("/3303"), now=0.0, deadline=600.0, key="down")
    link.run(5000.0)
    answers = {event.key: event for event in link.received["server"] if isinstance(event, ResponseReceived)}
    assert answers["up"].message.code == m.CHANGED and answers["down"].message.payload == b"body " * 600
    requests = [event for event in link.received["device"] if isinstance(event, RequestReceived)]
    assert [event.message.payload for event in requests if event.message.code == m.PUT] == [upload]


def test_a_dead_link_fails_every_request_and_leaves_nothing() -> None:
    link = Link(1, 1.0)
    server = link.ends["server"]
    token = b"observed"
    server.restore_observation(token, "kept")
    for number in range(10):
        server.send_request("device", m.GET, path_options("/a"), now=0.0, deadline=500.0, key=number)
    link.run(5000.0)
    failed = [event for event in link.received["server"] if isinstance(event, RequestFailed)]
    assert sorted(event.key for event in failed) == list(range(10))
    assert {event.reason for event in failed} == {"deadline"}
    assert server.is_observing(token) and server.next_timer() is None


@pytest.mark.parametrize("seed", range(5))
def test_every_notification_is_delivered_once_and_acknowledged(seed: int) -> None:
    """A device that retransmits its notifications until each has its ACK."""
    rng = random.Random(seed)
    server = Endpoint(rng=random.Random(seed))
    token = b"observed"
    server.restore_observation(token, "temperature")
    delivered: list[int] = []
    waiting: list[NotificationReceived] = []
    now = 0.0
    for number in range(200):
        options = [(6, number.to_bytes(2, "big"))]
        data = encode(Message(m.CON, m.CONTENT, number, token, options, b"%d" % number))
        acknowledged = False
        while not acknowledged:
            now += 2.0
            if rng.random() < 0.7:
                for event in server.receive_datagram(data, "device", now):
                    assert isinstance(event, NotificationReceived)
                    delivered.append(find_uint(event.message.options, 6) or 0)
                    waiting.append(event)
            if waiting and rng.random() < 0.6:
                server.accept_notification(waiting.pop(), now)
            for answer, _ in server.take_datagrams():
                acknowledged |= answer == b"\x60\0" + number.to_bytes(2, "big") and rng.random() < 0.7
    assert delivered == list(range(200))
