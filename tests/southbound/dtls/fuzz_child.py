"""A DTLS server in a process of its own, fed through a pipe: whatever happens to it happens here.

It first says ``K``: a certificate and its key. Standard input carries frames of a header (kind, port, size,
time) and size bytes: ``D`` a datagram from that port, ``T`` the timer at that time, ``S`` a question for the
sizes. Each ``T`` and ``S`` is answered: first a frame per datagram that the server sends, then the same kind
with (for S) JSON.
"""

from __future__ import annotations

import json
import logging
import struct
import sys

import psutil

from tests.southbound.dtls.authority import authority, der, key_pem, server_keys
from tests.southbound.dtls.net import Net, at

HEADER = struct.Struct(">cHId")
HOST = "192.0.2.7"


def main() -> int:
    logging.disable()  # thousands of certificates that are none
    net = Net(server_keys(), max_half_open=64, max_sessions=256)
    net.trust.certificates = authority().verdict
    server = net.server
    certificate, key = authority().issue("meter-2")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    secret = json.dumps([der(certificate).hex(), key_pem(key).decode()]).encode()
    sink.write(HEADER.pack(b"K", 0, len(secret), 0.0) + secret)
    sink.flush()
    handed_up = 0
    while head := source.read(HEADER.size):
        kind, port, size, now = HEADER.unpack(head)
        data = source.read(size)
        if kind == b"D":
            for content, session in server.receive(data, at(port, HOST), now):
                handed_up += 1
                assert isinstance(content, bytes)
                if not session.closed:
                    server.send(b"echo " + content[:100], session, now)
            continue
        server.handle_timer(now)
        server.take_events()
        for answer, peer in server.take_datagrams():
            sink.write(HEADER.pack(b"D", peer.address[1], len(answer), now) + answer)
        answer = b""
        if kind == b"S":
            sizes = {
                **server.table_sizes(),
                "rss": psutil.Process().memory_info().rss,
                "handed_up": handed_up,
                "handshakes": server.counts["handshakes"],
            }
            answer = json.dumps(sizes).encode()
        sink.write(HEADER.pack(kind, 0, len(answer), now) + answer)
        sink.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
