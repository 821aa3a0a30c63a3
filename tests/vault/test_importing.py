"""Lists of devices: as spreadsheets write them, everything that is wrong at once, and out and in again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.vault.errors import VaultError
from appliance.vault.importing import (
    COLUMNS,
    MAX_BYTES,
    MAX_ROWS,
    Row,
    export_rows,
    read_rows,
    to_csv,
    to_json,
)
from appliance.vault.model import Credential, Device, NewCredential, NewDevice

KEY = "00112233445566778899aabbccddeeff"
SPKI = (
    "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a1"
    "3945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)


def devices(rows: list[Row]) -> list[NewDevice]:
    assert [row.problems for row in rows if row.problems] == []
    return [row.device for row in rows if row.device is not None]


def one(text: str) -> NewDevice:
    (found,) = devices(read_rows(text.encode()))
    return found


def problems(text: str) -> dict[int, tuple[str, ...]]:
    return {row.row: row.problems for row in read_rows(text.encode()) if row.problems}


def test_the_least_list_makes_devices_with_keys() -> None:
    found = devices(read_rows(b"endpoint_name\nmeter-1\nmeter-2\n"))
    assert [device.endpoint_name for device in found] == ["meter-1", "meter-2"]
    assert all(device.credentials == (NewCredential("server", "psk"),) for device in found)


@pytest.mark.parametrize(
    "data",
    [
        b"endpoint_name,label,groups\nmeter-1,Cellar,a;b\n",
        b"\xef\xbb\xbfendpoint_name;label;groups\r\nmeter-1;Cellar;a,b\r\n",
        b"sep=;\r\nEndpoint Name;Description;Group\r\nmeter-1;Cellar;a|b\r\n",
        b'EP\tLABEL\tGroups\n"meter-1"\t"Cellar"\t"a, b"\n\n\t\t\n',
        "endpoint,title,group\r\nmeter-1,Cellar,a|b".encode("utf-16"),
        b'[{"endpoint_name": "meter-1", "label": "Cellar", "groups": ["a", "b"]}]',
        b'{"devices": [{"ep": "meter-1", "label": "Cellar", "group": "a;b"}]}',
    ],
)
def test_every_way_to_write_the_same(data: bytes) -> None:
    (found,) = devices(read_rows(data))
    assert (found.endpoint_name, found.label, found.groups) == ("meter-1", "Cellar", ("a", "b"))


def test_quoted_cells_hold_everything() -> None:
    found = one('endpoint_name,label\n"a,""b""","line"\n')
    assert (found.endpoint_name, found.label) == ('a,"b"', "line")


def test_given_keys() -> None:
    found = one(f"ep,identity,key,bs identity,bs key,plan\nm,me,{KEY},bs-me,0x{KEY[::-1]},p1\n")
    server, first = found.credentials
    assert (server.purpose, server.mode, server.psk_identity) == ("server", "psk", b"me")
    assert server.psk_key == bytes.fromhex(KEY)
    assert (first.purpose, first.psk_identity, first.psk_key) == (
        "bootstrap",
        b"bs-me",
        bytes.fromhex(KEY[::-1]),
    )
    assert found.plan == "p1"


def test_a_device_with_only_a_bootstrap_key_gets_the_rest_by_bootstrap() -> None:
    found = one(f"ep,bs key\nm,{KEY}\n")
    assert [(c.purpose, c.psk_identity) for c in found.credentials] == [("bootstrap", None)]
    found = one(f"ep,security,bs key\nm,psk,{KEY}\n")
    assert [c.purpose for c in found.credentials] == ["server", "bootstrap"]


def test_identities_that_are_no_text() -> None:
    assert one(f"ep,identity,key\nm,0x00ff,{KEY}\n").credentials[0].psk_identity == b"\x00\xff"
    assert one(f"ep,identity,key\nm,niño,{KEY}\n").credentials[0].psk_identity == "niño".encode()


def test_public_keys_and_certificates() -> None:
    assert one(f"ep,public key\nm,{SPKI}\n").credentials[0].spki == bytes.fromhex(SPKI)
    pinned = one(f"ep,cert\nm,sha256:{'ab' * 32}\n").credentials[0]
    assert (pinned.mode, pinned.pinned_sha256) == ("x509", "ab" * 32)


@pytest.mark.parametrize("word", ["yes", "1", "X", "true", "Ja"])
def test_without_security(word: str) -> None:
    assert one(f"ep,nosec\nm,{word}\n") == NewDevice("m", nosec=True)
    assert one("ep,security\nm,NoSec\n") == NewDevice("m", nosec=True)


def test_everything_that_is_wrong_is_said_at_once_with_the_line_it_stands_in() -> None:
    text = (
        "endpoint_name,label,security,psk_key_hex,public_key,nosec\n"
        "good,,,,,\n"
        '"two\nlines",,,12,,\n'
        ",,psk,,,\n"
        "odd,,psk,abc,,maybe\n"
        f"both,,rpk,{KEY},,\n"
        f"which,,,{KEY},{SPKI},\n"
        "what,,tls,,,\n"
        "cert,,x509,,,\n"  # it is made
        "more,,,,,,,surplus\n"
    )
    found = problems(text)
    assert found == {
        5: ("the endpoint name is missing",),
        6: (
            "nosec is yes or no, not 'maybe'",
            "psk_key_hex: the key has an odd number of hexadecimal digits",
        ),
        7: ("security is rpk, but there is material for psk",),
        8: ("there is material for psk and rpk: say in security which of them it is",),
        9: ("security is one of psk, rpk, x509, oscore, nosec, not 'tls'",),
        11: ("it has 8 cells, but there are 6 columns",),
    }
    assert all(KEY not in words for said in found.values() for words in said)


def test_rows_of_json_that_are_none() -> None:
    found = problems(
        '[1, {"ep": 5}, {"ep": "a", "groups": {"x": 1}}, {"ep": "b", "sercet": 1}, {"ep":"c","name":"d"}]'
    )
    assert found == {
        1: ("it is no object with members",),
        2: ("endpoint_name must be a text",),
        3: ("groups must be a list of texts",),
        4: ("there is no column 'sercet'; did you mean psk_key_hex?",),
        5: ("endpoint_name is there twice",),
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b"endpoint_name\n", "no rows"),
        (b"label\nx\n", "one of them endpoint_name"),
        (b"endpoint_name,labl\nx,y\n", "did you mean label"),
        (b"endpoint_name,ep\nx,y\n", "twice"),
        (b'endpoint_name\n"x\n', "line 2: the quotes do not fit"),
        (b'endpoint_name\n"x"y\n', "line 2: the quotes do not fit"),
        (b"endpoint_name\n\xff\xfe\n", "not UTF-8"),
        (b"[1,", "no JSON, line 1"),
        (b'{"rows": []}', '"devices"'),
        (b"[" * 5000, "no JSON"),
        (b"[]", "no rows"),
        (b"x" * (MAX_BYTES + 1), "longer than 8 MB"),
        (b"endpoint_name\n" + b"a\n" * (MAX_ROWS + 1), "more than 20000 rows"),
    ],
)
def test_what_is_no_list(data: bytes, said: str) -> None:
    with pytest.raises(VaultError, match=said):
        read_rows(data)


@given(st.binary(max_size=300))
def test_any_bytes_give_rows_or_one_refusal(data: bytes) -> None:
    for text in (data, b"endpoint_name,psk_key_hex,groups,cert\n" + data, b'[{"ep":"' + data + b'"}]'):
        try:
            rows = read_rows(text)
        except VaultError:
            continue
        assert all((row.device is None) == bool(row.problems) for row in rows)


# Out, and in again


def credential(purpose: str, mode: str, identity: str, **public: Any) -> Credential:
    return Credential("1", "m", purpose, mode, identity, public, (), "active", 0, None, 0, "")


PLAIN = Device("m", "", (), (), False, False, None, 0.0, (), None)


@pytest.mark.parametrize(
    "device",
    [
        replace(PLAIN, credentials=(credential("server", "psk", "psk:m"),)),
        replace(
            PLAIN,
            endpoint_name="-1+1",
            label='=HYPERLINK("x"), "quoted"; semicolon',
            groups=("a", "b c"),
            tags=("@t",),
            credentials=(
                credential("server", "psk", "psk:0x00ff"),
                credential("bootstrap", "psk", "psk:'=x"),
            ),
            plan="p1",
        ),
        replace(PLAIN, nosec=True),
        replace(PLAIN, credentials=(credential("bootstrap", "psk", "psk:bs:m"),)),
        replace(PLAIN, credentials=(credential("server", "rpk", "rpk:00", spki_hex=SPKI),)),
        replace(PLAIN, credentials=(credential("server", "x509", "x509:m", pinned_sha256="ab" * 32),)),
    ],
)
def test_what_goes_out_can_come_in_again(device: Device) -> None:
    rows = export_rows([device])
    for data in (to_csv(rows), to_csv(rows, ";"), to_json(rows)):
        (found,) = devices(read_rows(data))
        assert (found.endpoint_name, found.label) == (device.endpoint_name, device.label)
        assert (found.groups, found.tags, found.plan, found.nosec) == (
            device.groups,
            device.tags,
            device.plan,
            device.nosec,
        )
        assert [(c.purpose, c.mode) for c in found.credentials] == [
            (c.purpose, c.mode) for c in device.credentials
        ]
        assert export_rows([device]) == rows


def test_a_spreadsheet_finds_no_formula() -> None:
    data = to_csv(export_rows([replace(PLAIN, endpoint_name="=1+1")])).decode("utf-8-sig")
    assert data.splitlines() == [",".join(COLUMNS), "'=1+1" + "," * (len(COLUMNS) - 1)]


def test_secrets_do_not_go_out() -> None:
    rows = export_rows([replace(PLAIN, credentials=(credential("server", "psk", "psk:m"),))])
    assert "psk_key_hex" not in json.loads(to_json(rows))["devices"][0]
    assert rows[0]["psk_key_hex"] == ""
