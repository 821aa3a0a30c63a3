"""The wire form against an implementation that shares no line with ours: aiocoap."""

from __future__ import annotations

import random

import aiocoap

from appliance.coap import message as m
from appliance.coap.message import Message, decode, encode
from appliance.coap.options import Option, encode_uint


def random_message(rng: random.Random) -> Message:
    options: list[Option] = []
    for number in sorted(
        rng.choices((4, 8, 11, 11, 12, 15, 15, 17, 60, 258, 2049, 65001), k=rng.randrange(8))
    ):
        if number in (8, 11, 15):
            options.append((number, "".join(rng.choices("abcé/=&0", k=rng.randrange(300))).encode()))
        elif number in (12, 17, 60, 258):
            options.append((number, encode_uint(rng.randrange(65536))))
        else:
            options.append((number, rng.randbytes(rng.randrange(1, 9))))
    once = {number: (number, value) for number, value in options if number in (12, 17, 60, 258)}
    options = [option for option in options if option[0] not in once] + list(once.values())
    return Message(
        rng.randrange(3),
        rng.choice((m.GET, m.POST, m.FETCH, m.CONTENT, m.CHANGED, m.NOT_FOUND)),
        rng.randrange(65536),
        rng.randbytes(rng.randrange(9)),
        sorted(options, key=lambda option: option[0]),
        rng.randbytes(rng.randrange(40)),
    )


def test_3_aiocoap_reads_what_we_write_and_writes_the_same() -> None:
    rng = random.Random(11)
    for _ in range(2000):
        message = random_message(rng)
        data = encode(message)
        theirs = aiocoap.Message.decode(data)
        assert (int(theirs.mtype), int(theirs.code), theirs.mid) == (message.type, message.code, message.mid)
        assert theirs.token == message.token and theirs.payload == message.payload
        pairs = [(int(option.number), option.encode()) for option in theirs.opt.option_list()]
        assert pairs == message.options
        behind = b"\xff" + message.payload if message.payload else b""
        assert data == data[:4] + message.token + theirs.opt.encode() + behind
        assert decode(data) == message
