"""Whatever arrives: every decoder of the room gives a value or its one error, 100,000 inputs each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from appliance.lwm2m import links, registration
from appliance.lwm2m.attributes import (
    AttributesError,
    check_attributes,
    effective_attributes,
    format_attributes,
    parse_attributes,
)
from appliance.lwm2m.ddf import DdfError, parse_ddf
from appliance.lwm2m.definitions import ResourceDefinition
from appliance.lwm2m.operations import check_execute_arguments
from appliance.lwm2m.path import Path, PathError
from appliance.lwm2m.ranges import parse_range
from appliance.lwm2m.registration import RegistrationError, parse_register, parse_update
from appliance.lwm2m.values import ResourceType, ValueFormatError, from_json

INPUTS = 100_000

LISTS = (
    b'</>;rt="oma.lwm2m";ct="110 112 11542",</1>;ver=1.1,</1/0>,</3/0>,</3303/0>;ver="1.1"',
    b'</lwm2m>;rt="oma.lwm2m";ct=110, </lwm2m/3/0>, </lwm2m/3303>;ver=1.1',
    b'</3/0>;pmin=10,</3/0/6>;dim=8,</3/0/9>;gt=50;lt=-42.2;title="a\\"b"',
)
QUERIES = (
    b"ep=dev\nlt=300\nlwm2m=1.1\nb=UQ\nsms=+336\nQ\npid=1",
    b"lwm2m=1.0\nep=urn:imei:123\nb=US\nx=y\nlt=0",
    b'lwm2m=1.2\nep=a\nlt=60\npid="6:27354b9a,oma:meter,v:acme-1"\nb=UMH',
)
DDF = b"""<?xml version="1.0" encoding="UTF-8"?><LWM2M><Object><Name>A</Name><ObjectID>7</ObjectID>
<ObjectURN>urn:oma:lwm2m:x:7:1.1</ObjectURN><ObjectVersion>1.1</ObjectVersion>
<MultipleInstances>Single</MultipleInstances><Resources><Item ID="1"><Name>B</Name>
<Operations>RW</Operations><Type>Float</Type><RangeEnumeration>0..9</RangeEnumeration></Item></Resources></Object></LWM2M>"""


def inputs(seeds: tuple[bytes, ...], seed: int) -> list[bytes]:
    """Noise, and the seeds with bytes changed, taken out, doubled and exchanged."""
    chance = random.Random(seed)
    symbols = b"".join(seeds) + b'<>;,="\\/ \0\xff\xc3\xa4'
    found = []
    for number in range(INPUTS):
        if number % 8 == 0:
            found.append(chance.randbytes(chance.randrange(40)))
            continue
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(4):
                case 0:
                    data[at : at + 1] = bytes((chance.choice(symbols),))
                case 1:
                    del data[at : at + chance.randrange(1, 9)]
                case 2:
                    data[at:at] = data[chance.randrange(len(data) + 1) :][:12]
                case _:
                    other = chance.choice(seeds)
                    data[at : at + 6] = other[chance.randrange(len(other)) :][:6]
        found.append(bytes(data))
    return found


def lines(data: bytes) -> list[str]:
    return data.decode(errors="surrogateescape").split("\n")


def read_links(data: bytes) -> None:
    for link in links.parse_links(data):
        assert "<" not in link.target
        assert all(name for name, _ in link.attributes)


def read_register(data: bytes) -> None:
    operation = parse_register(lines(data), 40, LISTS[0])
    assert operation.version in ("1.0", "1.1", "1.2")
    assert operation.lifetime_s >= 0
    assert len(operation.profiles) <= registration.MAX_PROFILES
    assert all(len(one) <= registration.MAX_PROFILE_CHARACTERS for one in operation.profiles)
    assert operation.endpoint_name is None or operation.endpoint_name.isprintable()


def read_update(data: bytes) -> None:
    update = parse_update(lines(data), None, b"")
    assert registration.settle_update(update, "1.0", registration.read_object_list(LISTS[0]))


def read_list(data: bytes) -> None:
    objects = registration.read_object_list(data)
    assert all(path.level == 2 and path.object_id in objects.objects for path in objects.instances)
    assert objects.object_versions("1.1").keys() == objects.objects.keys()
    assert registration.object_list_from_json(registration.object_list_to_json(objects)) == objects


def read_ddf(data: bytes) -> None:
    definition = parse_ddf(data)
    assert definition.name
    assert definition.resources


def read_path(data: bytes) -> None:
    path = Path.parse(data.decode("latin-1"))
    assert Path.parse(str(path)) == path


def read_arguments(data: bytes) -> None:
    check_execute_arguments(data.decode("latin-1"))


def read_attributes(data: bytes) -> None:
    given = {name: value or None for name, _, value in (one.partition("=") for one in lines(data))}
    shown = parse_attributes(given.items())
    assert all(math.isfinite(value) for value in shown.values())
    check_attributes(given, composite=len(data) & 1 == 0, path=Path(3, 0, 9) if len(data) & 2 else None)
    # What we would send, a device can show, and it means the same.
    sent = [tuple(one.partition("=")[::2]) for one in format_attributes(given)]
    assert parse_attributes((name, value or None) for name, value in sent) == shown
    assert shown.keys() == {name for name, value in given.items() if value is not None}


def read_discover(data: bytes) -> None:
    found = effective_attributes(links.parse_links(data), Path(3, 0, 9), "/lwm2m")
    assert all(math.isfinite(value) for value in found.values())


def read_value(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    kinds = list(ResourceType)
    kind = kinds[len(data) % len(kinds)]
    definition = ResourceDefinition(1, "X", "RW", False, False, kind, text[10:40], "")
    from_json(text[:30], definition)


def read_range(data: bytes) -> None:
    text = data.decode("latin-1")
    for kind, value in (("number", 5), ("text", "abc"), ("bytes", b"abc")):
        assert isinstance(parse_range(text, kind).complaint(value), str)


@pytest.mark.parametrize(
    ("read", "error", "seeds"),
    [
        (read_links, links.LinkFormatError, LISTS),
        (read_list, RegistrationError, LISTS),
        (read_register, RegistrationError, QUERIES),
        (read_update, RegistrationError, QUERIES),
        (read_ddf, DdfError, (DDF,)),
        (read_path, PathError, (b"/3/0/9", b"/65535/65535/65535/65535", b"/3303/12/5700/1")),
        (read_arguments, ValueError, (b"0='x',1,5='https://a/b'", b"9='',2")),
        (
            read_attributes,
            AttributesError,
            (b"pmin=10\npmax=60\ngt=5.5\nlt=-1\nst=0.5", b"epmin=1\nepmax", b"edge=1\ncon=0\nhqmax=10\npmin"),
        ),
        (
            read_discover,
            links.LinkFormatError,
            (b"</3>;pmin=5;con=1,</3/0>;pmax=60;hqmax=3,</3/0/9>;gt=1e3;lt=-4.2;edge=0", *LISTS),
        ),
        (
            read_value,
            ValueFormatError,
            (b"2030-01-31T12:00:00Z0..9, 12", b"-12300 ff:00 bytes", b"3:0 ON;OFF 1: a"),
        ),
        (read_range, AssertionError, (b"0..247, 255 bytes", b"0: a 1: b; 255: stuck", b"-30..-120 or 7-9")),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_any_input_gives_a_value_or_the_one_error(
    read: Callable[[bytes], None], error: type[Exception], seeds: tuple[bytes, ...]
) -> None:
    taken = refused = 0
    for data in inputs(seeds, seed=len(seeds[0])):
        try:
            read(data)
            taken += 1
        except error:
            if error is AssertionError:
                raise
            refused += 1
    assert taken > INPUTS // 1000  # the inputs are near enough to the real thing to mean something
    assert refused or error is AssertionError
