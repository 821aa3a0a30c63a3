"""The protocol log: what a message is about, what may be seen of it, and that it stays within its bounds."""

from __future__ import annotations

import base64
import random
import shutil
import subprocess
from pathlib import Path as File
from typing import Any, NamedTuple

import pytest

from appliance.coap import message as coap
from appliance.coap import options as option
from appliance.lwm2m import content_format as formats
from appliance.lwm2m.codecs import encode
from appliance.lwm2m.definitions import Definitions, Model
from appliance.lwm2m.path import Path
from appliance.lwm2m.values import Report
from appliance.southbound.log import ProtocolLog
from appliance.southbound.log_exchange import Exchanges, parse
from appliance.southbound.log_payload import redacted
from appliance.southbound.udp import UdpPeer

AT = 1_777_888_999.25
SECRET = b"a key that nobody may see"
PEER = UdpPeer(2, ("192.168.7.20", 56830), b"\xc0\xa8\x07\x01")
PEER6 = UdpPeer(10, ("fd00::20", 56830, 0, 0), b"")
CELLAR = UdpPeer(2, ("192.168.7.99", 56830), b"")
DEFINITIONS = Definitions.registered()
MODEL = Model(DEFINITIONS, dict.fromkeys((0, 1, 3, 4, 5, 11, 21, 23, 3303)))


class TcpPeer(NamedTuple):
    connection: int
    address: tuple[str, int]

    def __str__(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


TCP_PEER = TcpPeer(1, ("192.168.7.21", 40404))


class Acquainted:
    """Stands for the rooms above: one device, one observation from before."""

    def __init__(self) -> None:
        self.root = ""
        self.observing: dict[bytes, tuple[Path, ...]] = {}

    def name(self, peer: Any) -> str:
        return "cellar" if peer == CELLAR else ""

    def model(self, endpoint_name: str) -> tuple[Model, str] | None:
        return (MODEL, self.root) if endpoint_name == "kitchen" else None

    def behind(self, endpoint_name: str) -> dict[str, Model]:
        return {"d01": MODEL} if endpoint_name == "kitchen" else {}

    def observed(self, endpoint_name: str, token: bytes) -> tuple[str, tuple[Path, ...]] | None:
        paths = self.observing.get(token)
        return ("", paths) if paths is not None and endpoint_name == "kitchen" else None


class Log(ProtocolLog):
    """A log that messages can be put into by their parts."""

    def __init__(self, max_entries: int = 1000, max_bytes: int = 1_000_000) -> None:
        self.acquainted = Acquainted()
        super().__init__(max_entries, max_bytes, DEFINITIONS, self.acquainted, lambda: AT)
        self.name(PEER, "kitchen")
        self.mid = 0

    def put(
        self,
        incoming: bool,
        code: int,
        path: str = "",
        payload: bytes = b"",
        token: bytes = b"\1\2",
        *options: tuple[int, int | bytes],
        kind: int = coap.CON,
        peer: Any = PEER,
    ) -> None:
        self.mid += 1
        number = option.URI_PATH if code < coap.CREATED else option.LOCATION_PATH
        found = option.path_options(path, number)
        found += [(n, v if isinstance(v, bytes) else option.encode_uint(v)) for n, v in options]
        data = coap.encode_parts(kind, code, self.mid, token, found, payload)
        if isinstance(peer, TcpPeer):
            data = frame(data)
        self.record(incoming, "TCP" if isinstance(peer, TcpPeer) else "UDP", peer, data)

    def last(self) -> dict[str, Any]:
        entry: dict[str, Any] = self.read_last(1)["entries"][-1]
        return entry

    def summaries(self, **wanted: str) -> list[str]:
        return [one["summary"] for one in self.read_last(1000, wanted)["entries"]]

    def everything(self) -> bytes:
        return b"".join(self.text()) + b"".join(self.pcap()) + repr(self.read(0, 1000)).encode()


def frame(datagram: bytes) -> bytes:
    """A datagram as a frame of RFC 8323 §3.2."""
    token_length = datagram[0] & 15
    rest = datagram[4 + token_length :]
    head, extended = (len(rest), b"") if len(rest) < 13 else (13, bytes((len(rest) - 13,)))
    return bytes((head << 4 | token_length,)) + extended + datagram[1:2] + datagram[4:]


# What a message is about


def test_operations_in_the_words_of_lwm2m() -> None:
    log = Log()
    log.put(True, coap.POST, "/rd", b"</3/0>", b"r", (option.URI_QUERY, b"ep=kitchen"))
    log.put(False, coap.CREATED, "/rd/abcdefghijkl", b"", b"r", kind=coap.ACK)
    log.put(True, coap.POST, "/rd/abcdefghijkl", b"", b"u")
    log.put(False, coap.GET, "/3/0", b"", b"a", (option.ACCEPT, 112))
    log.put(False, coap.GET, "/3303/0/5700", b"", b"b", (option.OBSERVE, 0))
    log.put(True, coap.CONTENT, "", b"21.5", b"b", (option.OBSERVE, 7), (option.CONTENT_FORMAT, 0))
    log.put(True, coap.CONTENT, "", b"22.5", b"b", (option.OBSERVE, 8), (option.CONTENT_FORMAT, 0))
    log.put(False, coap.GET, "/3303/0/5700", b"", b"b", (option.OBSERVE, 1))
    log.put(False, coap.GET, "/3", b"", b"c", (option.ACCEPT, 40))
    log.put(False, coap.PUT, "/3/0/14", b"+01:00", b"d", (option.CONTENT_FORMAT, 0))
    log.put(False, coap.PUT, "/3/0/9", b"", b"e", (option.URI_QUERY, b"pmin=10"))
    log.put(False, coap.POST, "/3/0/4", b"", b"f")
    log.put(False, coap.POST, "/3303", b"\x08\x01\xc0", b"g", (option.CONTENT_FORMAT, formats.TLV))
    log.put(False, coap.POST, "/3/0", b"", b"h", (option.CONTENT_FORMAT, formats.TLV))
    log.put(False, coap.DELETE, "/3303/1", b"", b"i")
    log.put(False, coap.FETCH, "/", b'[{"n":"/3/0/9"}]', b"j", (option.CONTENT_FORMAT, 110))
    log.put(
        False, coap.FETCH, "/", b'[{"n":"/3/0/9"}]', b"k", (option.CONTENT_FORMAT, 110), (option.OBSERVE, 0)
    )
    log.put(False, coap.IPATCH, "/", b"[]", b"l", (option.CONTENT_FORMAT, 110))
    log.put(True, coap.POST, "/dp", b"[]", b"m", (option.CONTENT_FORMAT, 110))
    log.put(True, coap.DELETE, "/rd/abcdefghijkl", b"", b"n")
    log.put(True, coap.POST, "/bs", b"", b"o", (option.URI_QUERY, b"ep=kitchen"))
    log.put(False, coap.POST, "/bs", b"", b"p")
    log.put(True, coap.CHANGED, "", b"", b"p")
    assert log.summaries() == [
        "Register",
        "Register: 2.01 Created",
        "Update",
        "Read /3/0",
        "Observe /3303/0/5700",
        "Observe /3303/0/5700: 2.05 Content",
        "Notify /3303/0/5700: 2.05 Content",
        "Cancel Observation /3303/0/5700",
        "Discover /3",
        "Write /3/0/14",
        "Write-Attributes /3/0/9",
        "Execute /3/0/4",
        "Create /3303",
        "Write /3/0",
        "Delete /3303/1",
        "Read-Composite /3/0/9",
        "Observe-Composite /3/0/9",
        "Write-Composite /",
        "Send",
        "Deregister",
        "Bootstrap-Request",
        "Bootstrap-Finish",
        "Bootstrap-Finish: 2.04 Changed",
    ]


def test_an_entry_is_whole() -> None:
    log = Log()
    log.put(False, coap.GET, "/3303/0/5700", b"", b"\xaa\xbb", (option.ACCEPT, 112))
    log.put(True, coap.CONTENT, "", b"21.5", b"\xaa\xbb", (option.CONTENT_FORMAT, 0), kind=coap.ACK)
    assert log.last() == {
        "seq": 2,
        "at": "2026-05-04T10:03:19.250Z",
        "direction": "in",
        "bearer": "UDP",
        "peer": "192.168.7.20:56830",
        "endpoint_name": "kitchen",
        "type": "ACK",
        "code": "2.05 Content",
        "mid": 2,
        "token": "aabb",
        "path": "/3303/0/5700",
        "summary": "Read /3303/0/5700: 2.05 Content",
        "options": ["Content-Format: 0 text/plain"],
        "payload_bytes": 4,
        "payload_text": "/3303/0/5700 Sensor Value = 21.5",
        "payload_hex": b"21.5".hex(),
        "hidden": False,
    }


def test_empty_messages_name_what_they_answer() -> None:
    log = Log()
    log.acquainted.observing[b"t"] = (Path(3303, 0, 5700),)
    log.put(True, coap.CONTENT, "", b"21", b"t", (option.OBSERVE, 5), (option.CONTENT_FORMAT, 0))
    log.record(False, "UDP", PEER, coap.encode_parts(coap.ACK, 0, log.mid, b"", (), b""))
    log.record(False, "UDP", PEER, coap.encode_parts(coap.RST, 0, log.mid, b"", (), b""))
    log.record(True, "UDP", PEER, coap.encode_parts(coap.CON, 0, 99, b"", (), b""))
    assert log.summaries()[1:] == [
        "Receipt of Notify /3303/0/5700: 2.05 Content",
        "Reset of Notify /3303/0/5700: 2.05 Content",
        "Ping",
    ]


def test_an_observation_from_before_the_start_of_the_log_is_known_by_its_token() -> None:
    log = Log()
    log.acquainted.observing[b"old"] = (Path(3303, 0, 5700),)
    log.put(True, coap.CONTENT, "", b"21", b"old", (option.OBSERVE, 5), (option.CONTENT_FORMAT, 0))
    assert log.last()["summary"] == "Notify /3303/0/5700: 2.05 Content"
    assert log.last()["payload_text"] == "/3303/0/5700 Sensor Value = 21.0"


def test_a_device_below_an_alternate_path_and_one_behind_a_gateway() -> None:
    log = Log()
    log.acquainted.root = "/lwm2m"
    log.put(False, coap.GET, "/lwm2m/3/0/9")
    assert (log.last()["summary"], log.last()["path"]) == ("Read /3/0/9", "/3/0/9")
    log.put(False, coap.GET, "/lwm2m/d01/3303/0")
    assert (log.last()["summary"], log.last()["path"]) == ("Read /d01/3303/0", "/d01/3303/0")


def test_composites_name_their_paths_and_those_of_devices_behind_a_gateway() -> None:
    log = Log()
    log.acquainted.root = "/lwm2m"
    body = b'[{"n":"/lwm2m/d01/3303/0/5700"},{"n":"/lwm2m/3/0/9"}]'
    log.put(False, coap.FETCH, "", body, b"c", (option.CONTENT_FORMAT, 110))
    assert log.last()["path"] == "/d01/3303/0/5700,/3/0/9"
    assert log.last()["payload_text"].splitlines()[0] == "/lwm2m/d01/3303/0/5700"
    answer = b'[{"n":"/lwm2m/d01/3303/0/5700","v":21},{"n":"/lwm2m/3/0/9","v":87}]'
    log.put(True, coap.CONTENT, "", answer, b"c", (option.CONTENT_FORMAT, 110))
    assert sorted(log.last()["payload_text"].splitlines()) == [
        "/3/0/9 Battery Level = 87 /100",
        "/d01/3303/0/5700 Sensor Value = 21.0",
    ]
    assert log.summaries(path="/3/0") == log.summaries()
    secret = b'[{"n":"/lwm2m/d01/0/0/5","vd":"YSBrZXk"}]'
    log.put(True, coap.POST, "/dp", secret, b"s", (option.CONTENT_FORMAT, 110))
    assert log.last()["hidden"]


def test_who_speaks_is_told_by_the_registry_and_by_the_register_itself() -> None:
    log = Log()
    log.put(True, coap.DELETE, "/rd/abcdefghijkl", peer=CELLAR)
    assert log.last()["endpoint_name"] == "cellar"
    log.name(CELLAR, "behind the cellar")
    log.put(True, coap.DELETE, "/rd/abcdefghijkl", peer=CELLAR)
    assert log.last()["endpoint_name"] == "cellar"
    log.put(True, coap.POST, "/rd", b"</3/0>", b"r", (option.URI_QUERY, b"ep=attic"), peer=PEER6)
    assert log.last()["endpoint_name"] == "attic"


def test_blocks_are_counted() -> None:
    log = Log()
    log.put(False, coap.PUT, "/3/0/14", b"x" * 16, b"a", (option.CONTENT_FORMAT, 0), (option.BLOCK1, 0x18))
    log.put(False, coap.PUT, "/3/0/14", b"x" * 16, b"a", (option.CONTENT_FORMAT, 0), (option.BLOCK1, 0x20))
    assert log.summaries() == ["Write /3/0/14, block 2", "Write /3/0/14, block 3, the last"]
    assert log.last()["options"][-1] == "Block1: 2/0/16"


def test_frames_of_tcp() -> None:
    log = Log()
    log.name(TCP_PEER, "kitchen")
    log.record(True, "TCP", TCP_PEER, b"\x30\xe1\x22\x04\x80")  # CSM with Max-Message-Size 1152
    log.put(False, coap.GET, "/3/0/9", b"", b"z", peer=TCP_PEER)
    log.put(True, coap.CONTENT, "", b"87", b"z", (option.CONTENT_FORMAT, 0), peer=TCP_PEER)
    log.record(True, "TCP", TCP_PEER, b"\x20\xe5\xff!")  # Abort with a word
    entries = log.read(0, 10)["entries"]
    assert [one["summary"] for one in entries] == [
        "CSM",
        "Read /3/0/9",
        "Read /3/0/9: 2.05 Content",
        "Abort",
    ]
    assert [one["code"] for one in entries][::3] == ["7.01 CSM", "7.05 Abort"]
    assert entries[2]["payload_text"] == "/3/0/9 Battery Level = 87 /100"
    assert (entries[2]["type"], entries[2]["mid"], entries[3]["payload_text"]) == (None, None, "!")


# Secrets


def written(log: Log, path: str, reports: list[Report], number: int) -> None:
    payload = encode(number, Path.parse(path), reports, MODEL)
    log.put(False, coap.PUT, path, payload, b"w", (option.CONTENT_FORMAT, number))


@pytest.mark.parametrize("number", [formats.TLV, formats.SENML_JSON, formats.SENML_CBOR])
@pytest.mark.parametrize(
    ("path", "resource"),
    [("/0/0", "/0/0/5"), ("/0/0/5", "/0/0/5"), ("/21/0", "/21/0/0"), ("/5/0/0", "/5/0/0")],
)
def test_keys_and_what_is_only_written_leave_by_no_way(number: int, path: str, resource: str) -> None:
    log = Log()
    written(log, path, [Report(Path.parse(resource), SECRET, None, True)], number)
    seen = log.everything()
    assert SECRET not in seen and SECRET.hex().encode() not in seen
    assert base64.b64encode(SECRET)[:20] not in seen
    assert log.last()["hidden"] and log.last()["payload_hex"] == ""
    assert log.last()["payload_bytes"] >= len(SECRET)


def test_the_answer_of_a_device_that_gives_its_keys_away_is_hidden() -> None:
    log = Log()
    log.put(False, coap.GET, "/0/0/5", b"", b"k")
    log.put(True, coap.CONTENT, "", SECRET, b"k", (option.CONTENT_FORMAT, 42))
    log.put(False, coap.GET, "/0", b"", b"l")
    log.put(True, coap.BAD_REQUEST, "", SECRET, b"l")
    assert SECRET not in log.everything() and log.last()["hidden"]


def test_a_key_among_harmless_records_hides_them_all() -> None:
    log = Log()
    pack = b'[{"bn":"/","n":"3/0/9","v":87},{"n":"0/0/5","vd":"YSBrZXk"}]'
    for code, path in ((coap.POST, "/dp"),):
        log.put(True, code, path, pack, b"s", (option.CONTENT_FORMAT, 110))
        assert log.last()["hidden"]
    log.put(False, coap.FETCH, "/", b'[{"n":"/"}]', b"c", (option.CONTENT_FORMAT, 110))
    assert log.last()["payload_text"] == "/"
    log.put(True, coap.CONTENT, "", pack, b"c", (option.CONTENT_FORMAT, 110))
    assert log.last()["hidden"]
    assert b"YSBrZXk" not in log.everything()


def test_what_cannot_be_attributed_stays_hidden() -> None:
    log = Log()
    log.put(True, coap.CONTENT, "", SECRET, b"unknown", (option.CONTENT_FORMAT, 42))
    assert log.last()["summary"] == "Answer to something unknown: 2.05 Content"
    log.put(True, coap.POST, "/elsewhere", SECRET)
    log.record(True, "UDP", PEER, b"\xff\xff\xff\xff" + SECRET)
    log.record(True, "TCP", TCP_PEER, b"\xf0" + SECRET)
    log.put(False, coap.PUT, "/31999/0/1", SECRET, b"p", (option.CONTENT_FORMAT, 42))
    assert all(one["hidden"] for one in log.read(0, 10)["entries"])
    assert SECRET not in log.everything()


def test_pieces_of_an_instance_with_a_secret_are_hidden_others_are_not() -> None:
    log = Log()
    piece = ((option.CONTENT_FORMAT, 112), (option.BLOCK1, 0x18))
    log.put(False, coap.PUT, "/5/0", SECRET, b"a", *piece)
    assert log.last()["hidden"]
    log.put(False, coap.PUT, "/3303/0", b"not a secret", b"b", *piece)
    assert (log.last()["hidden"], log.last()["payload_text"]) == (False, "not a secret")


def test_the_location_of_a_registration_is_masked_and_nothing_moves() -> None:
    log = Log()
    location = "f7Kd0ePq1uXz"
    log.put(True, coap.POST, "/rd", b"</3/0>", b"r", (option.URI_QUERY, b"ep=kitchen"))
    log.put(False, coap.CREATED, f"/rd/{location}", b"", b"r", kind=coap.ACK)
    log.put(True, coap.POST, f"/rd/{location}", b"</3/0>", b"u")
    log.put(True, coap.POST, f"/rd/{location}", b"</3/0>", b"u", peer=TCP_PEER)
    assert location.encode() not in log.everything()
    assert log.last()["options"] == ["Uri-Path: rd", "Uri-Path: ************"]
    for bearer, data in [(one[3], one[5]) for one in log._raw]:
        message = parse(bearer, data)
        shown = redacted(bearer, data, message, True)
        again = parse(bearer, shown)
        assert len(shown) == len(data) and message is not None and again is not None
        assert (again.code, again.token, len(again.payload)) == (
            message.code,
            message.token,
            len(message.payload),
        )


# Pages and filters


def test_pages_go_on_where_the_last_one_ended() -> None:
    log = Log()
    for number in range(25):
        log.put(False, coap.GET, f"/3/0/{number}", b"", bytes((number,)))
    first = log.read(0, 10)
    second = log.read(first["next"], 10)
    third = log.read(second["next"], 10)
    assert [len(page["entries"]) for page in (first, second, third)] == [10, 10, 5]
    assert [one["seq"] for one in third["entries"]] == [21, 22, 23, 24, 25]
    assert (third["next"], third["head"], third["oldest"]) == (25, 25, 1)
    assert [one["seq"] for one in log.read_last(2)["entries"]] == [24, 25]


def test_a_page_ends_early_when_it_becomes_large() -> None:
    log = Log(max_bytes=100_000_000)
    for _ in range(300):
        log.put(False, coap.PUT, "/3/0/14", b"x" * 8000, b"w", (option.CONTENT_FORMAT, 0))
    page = log.read(0, 1000)
    assert 50 < len(page["entries"]) < 200
    assert page["next"] == page["entries"][-1]["seq"]


def test_filters() -> None:
    log = Log()
    log.put(False, coap.GET, "/3/0/9", b"", b"a")
    log.put(True, coap.CONTENT, "", b"87", b"a", (option.CONTENT_FORMAT, 0), kind=coap.ACK)
    log.put(False, coap.GET, "/3303/0", b"", b"b", peer=PEER6)
    log.put(True, coap.NOT_FOUND, "", b"no such thing", b"b", kind=coap.ACK, peer=PEER6)
    assert log.summaries(endpoint_name="kitchen") == ["Read /3/0/9", "Read /3/0/9: 2.05 Content"]
    assert log.summaries(direction="out") == ["Read /3/0/9", "Read /3303/0"]
    assert log.summaries(code="4") == log.summaries(code="4.04") == ["Read /3303/0: 4.04 Not Found"]
    assert log.summaries(code="get", path="/3") == ["Read /3/0/9"]
    assert log.summaries(path="/33") == []
    assert log.summaries(bearer="TCP") == []
    assert log.summaries(text="SUCH") == ["Read /3303/0: 4.04 Not Found"]
    assert log.summaries(text="battery") == ["Read /3/0/9: 2.05 Content"]
    page = log.read(0, 1, {"code": "4.04"})
    assert (len(page["entries"]), page["next"]) == (1, 4)


def test_text_is_lines_of_ours_whatever_a_device_calls_itself() -> None:
    log = Log()
    log.put(True, coap.POST, "/rd", b"", b"r", (option.URI_QUERY, b"ep=a\n2026 -> fake"), peer=PEER6)
    lines = b"".join(log.text()).decode().splitlines()
    assert all(line.startswith(("2026-05-04T10:03:19.250Z", "    ")) for line in lines)
    assert "[fd00::20]:56830" in lines[0] and "Register" in lines[0]


# Bounds


def test_the_ring_is_bounded_in_entries_and_in_bytes() -> None:
    log = Log(max_entries=10)
    for number in range(50):
        log.put(False, coap.GET, f"/3/0/{number}")
    assert (log.oldest, log.head, len(log.read(0, 1000)["entries"])) == (41, 50, 10)
    log = Log(max_bytes=20_000)
    for _ in range(50):
        log.put(False, coap.PUT, "/3/0/14", b"x" * 1700)
    assert len(log.read(0, 1000)["entries"]) == 10 and log._bytes <= 20_000


def test_a_log_without_entries_keeps_nothing() -> None:
    log = Log(max_entries=0)
    log.put(False, coap.GET, "/3/0")
    assert not log.enabled and log.read(0, 10)["entries"] == [] and b"".join(log.text()) == b""


def test_what_is_remembered_about_exchanges_is_bounded() -> None:
    log = Log(max_entries=20_000, max_bytes=100_000_000)
    for number in range(18_000):
        token = number.to_bytes(4, "big")
        log.put(False, coap.GET, "/3/0", b"", token)
        log.name(UdpPeer(2, ("10.0.0.1", number), b""), "x")
    log.read_last(1)
    exchanges = log._exchanges
    assert len(exchanges._ours) == len(exchanges._messages) == 8192 and len(log._names) == 16384
    assert len(exchanges._notes) == 1
    for number in range(9000):
        log.put(False, coap.GET, f"/3/{number}", b"", b"t")
    log.read_last(1)
    assert len(exchanges._notes) <= 8192


def test_a_view_after_a_long_time_without_one() -> None:
    log = Log(max_entries=10)
    log.put(False, coap.GET, "/3/0/1")
    log.read_last(1)
    for number in range(100):
        log.put(False, coap.GET, f"/3/0/{number}")
    assert log.read_last(1)["entries"][0]["path"] == "/3/0/99" and len(log._notes) == 10


def test_any_bytes_give_an_entry() -> None:
    """10^5 messages, half of them changed at random, on datagrams and frames alike."""
    chance = random.Random(7)
    log = Log(max_entries=200)
    models = Exchanges(log.acquainted, {PEER: "kitchen"})
    seeds = []
    for code in (coap.GET, coap.PUT, coap.POST, coap.FETCH, coap.IPATCH, coap.CONTENT, coap.BAD_REQUEST):
        for number in (0, 40, 42, 60, 110, 112, 320, 322, 11542, 11543, 11544):
            options = [(11, b"3303"), (11, b"0"), (12, option.encode_uint(number)), (27, b"\x18")]
            seeds.append(coap.encode_parts(0, code, 1, b"t", options, b'[{"n":"/3/0/9","v":1}]'))
    for count in range(100_000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        incoming, bearer = chance.random() < 0.5, chance.choice(("UDP", "TCP"))
        if count % 20:
            models.note(incoming, bearer, PEER, bytes(data))
        else:
            log.record(incoming, bearer, PEER, bytes(data))
            if count % 2000 == 0:
                log.everything()


# The stranger that opens the capture


def tshark(file: File, *arguments: str) -> list[list[str]]:
    program = shutil.which("tshark")
    assert program, "tshark is missing; scripts/test installs it"
    done = subprocess.run(
        [program, "-n", "-r", str(file), "-T", "fields", "-E", "separator=|", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [line.split("|") for line in done.stdout.splitlines()]


def test_wireshark_opens_the_capture(tmp_path: File) -> None:
    log = Log()
    log.name(TCP_PEER, "kitchen")
    log.put(True, coap.POST, "/rd", b"</3/0>", b"r", (option.URI_QUERY, b"ep=kitchen"))
    log.put(False, coap.CREATED, "/rd/f7Kd0ePq1uXz", b"", b"r", kind=coap.ACK)
    log.put(False, coap.GET, "/3303/0/5700", b"", b"\xaa", peer=PEER6)
    log.put(True, coap.CONTENT, "", b"21.5", b"\xaa", (option.CONTENT_FORMAT, 0), kind=coap.ACK, peer=PEER6)
    written(log, "/0/0/5", [Report(Path(0, 0, 5), SECRET, None, True)], formats.OPAQUE)
    log.record(True, "TCP", TCP_PEER, b"\0\xe1")  # Wireshark 4.0 knows no options of signals
    log.put(False, coap.GET, "/3/0/9", b"", b"z", peer=TCP_PEER)
    log.put(True, coap.CONTENT, "", b"87", b"z", (option.CONTENT_FORMAT, 0), peer=TCP_PEER)
    file = tmp_path / "log.pcap"
    file.write_bytes(b"".join(log.pcap()))
    fields = ("ip.src", "ipv6.src", "coap.code", "coap.opt.uri_path_recon", "_ws.malformed")
    rows = tshark(file, *(word for name in fields for word in ("-e", name)))
    assert [row[2] for row in rows] == ["2", "65", "1", "69", "3", "225", "1", "69"]
    assert [row[0] or row[1] for row in rows] == [
        *("192.168.7.20", "192.168.7.1", "2001:db8::1", "fd00::20", "192.168.7.1"),
        *("192.168.7.21", "192.0.2.1", "192.168.7.21"),
    ]
    assert rows[0][3] == "/rd" and rows[2][3] == "/3303/0/5700"
    assert not any(row[4] for row in rows)
    checked = (
        "-o",
        "udp.check_checksum:TRUE",
        "-o",
        "tcp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
    )
    sums = ("-e", "udp.checksum.status", "-e", "tcp.checksum.status", "-e", "ip.checksum.status")
    assert all(set(row) <= {"1", ""} for row in tshark(file, *checked, *sums))


def test_a_long_frame_becomes_segments_that_fit_together(tmp_path: File) -> None:
    log = Log(max_bytes=10_000_000)
    log.name(TCP_PEER, "kitchen")
    body = b"x" * 100_000
    rest = coap.encode_parts(1, coap.PUT, 0, b"z", [(11, b"3"), (11, b"0"), (11, b"14"), (12, b"")], body)[5:]
    log.record(False, "TCP", TCP_PEER, b"\xf1" + (len(rest) - 65805).to_bytes(4, "big") + b"\x03z" + rest)
    assert log.last()["payload_bytes"] == 100_000 and len(log.last()["payload_hex"]) == 8192
    file = tmp_path / "log.pcap"
    file.write_bytes(b"".join(log.pcap()))
    rows = tshark(file, "-e", "tcp.len", "-e", "tcp.analysis.lost_segment", "-e", "coap.code")
    assert sum(int(row[0]) for row in rows) == len(rest) + 7
    assert len(rows) == 4 and not any(row[1] for row in rows) and rows[-1][2] == "3"
