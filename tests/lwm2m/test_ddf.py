"""Object definitions from XML: what is taken, and what is refused with which reason."""

from __future__ import annotations

import pytest

from appliance.lwm2m.ddf import MAX_DDF_BYTES, DdfError, parse_ddf
from appliance.lwm2m.definitions import ResourceDefinition
from appliance.lwm2m.values import ResourceType

ITEM = """<Item ID="{id}"><Name>{name}</Name><Operations>{operations}</Operations>
<MultipleInstances>{multiple}</MultipleInstances><Mandatory>Optional</Mandatory><Type>{type}</Type>
<RangeEnumeration>{span}</RangeEnumeration><Units>{units}</Units>
<Description><![CDATA[Never <Name>kept</Name>.]]></Description></Item>"""


def item(**changes: object) -> str:
    facts = {"id": 1, "name": "Level", "operations": "RW", "multiple": "Single", "type": "Float"}
    return ITEM.format(**{**facts, "span": "", "units": "", **changes})


def ddf(
    *items: str,
    object_id: object = 40000,
    versions: str = "<LWM2MVersion>1.1</LWM2MVersion><ObjectVersion>2.3</ObjectVersion>",
    urn: str = "",
    before: str = "",
    multiple: str = "Multiple",
) -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?>{before}
<LWM2M xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Object ObjectType="MODefinition">
<Name>  Water
 Tank </Name><Description1>no</Description1><ObjectID>{object_id}</ObjectID><ObjectURN>{urn}</ObjectURN>
{versions}
<MultipleInstances>{multiple}</MultipleInstances><Mandatory>Optional</Mandatory>
<Resources>{"".join(items)}</Resources><Description2/></Object></LWM2M>""".encode()


def test_an_object_is_read() -> None:
    definition = parse_ddf(ddf(item(id=7, span="0-9", units="m"), item(id=2, type="Unsigned Integer")))
    assert (definition.id, definition.name, definition.version) == (40000, "Water Tank", "2.3")
    assert (definition.multiple, definition.mandatory, definition.lwm2m_version) == (True, False, "1.1")
    assert list(definition.resources) == [2, 7]
    assert definition.resources[7] == ResourceDefinition(
        7, "Level", "RW", False, False, ResourceType.FLOAT, "0..9", "m"
    )
    assert definition.resources[2].type is ResourceType.UNSIGNED


def test_schema_1_0_names_no_versions() -> None:
    definition = parse_ddf(ddf(item(), versions=""))
    assert (definition.version, definition.lwm2m_version) == ("1.0", "1.0")


def test_the_version_may_stand_in_the_urn_alone() -> None:
    assert parse_ddf(ddf(item(), versions="", urn="urn:oma:lwm2m:x:40000:1.3")).version == "1.3"


def test_an_executable_resource_has_no_type() -> None:
    definition = parse_ddf(ddf(item(operations="E", type=""), item(id=2, operations="E", type="String")))
    assert {one.type for one in definition.resources.values()} == {ResourceType.NONE}


@pytest.mark.parametrize("written", ["RW", "R,W", "R W", "rw", "WR"])
def test_operations_in_other_spellings(written: str) -> None:
    assert parse_ddf(ddf(item(operations=written))).resources[1].operations == "RW"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_other_encodings_are_read(encoding: str) -> None:
    xml = ddf(item(name="Höhe")).decode().replace("UTF-8", encoding.removesuffix("-sig")).encode(encoding)
    assert parse_ddf(xml).resources[1].name == "Höhe"


def test_names_stay_in_one_line_without_tabs() -> None:
    assert parse_ddf(ddf(item(name="A\t\n B"))).resources[1].name == "A B"


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (ddf(item(), before='<!DOCTYPE LWM2M SYSTEM "file:///etc/passwd">'), "DOCTYPE"),
        (ddf(item(name="&b;"), before=BOMB), "DOCTYPE"),
        (ddf(item(), before='<!DOCTYPE x PUBLIC "p" "http://192.0.2.1/x">'), "DOCTYPE"),
        (ddf(item(name="&unknown;")), "broken in line"),
        (ddf(item()) + b" " * MAX_DDF_BYTES, "bytes"),
        (b"", "broken in line"),
        (b"\x00\x01", "broken in line"),
        (b"<a/>", "outermost element"),
        (b"<LWM2M/>", "no Object"),
        (ddf(item())[:-9], "broken in line"),
        (b"<LWM2M><Object/><Object/></LWM2M>", "several objects"),
        (b"<LWM2M>" + b"<a>" * 100 + b"</a>" * 100 + b"</LWM2M>", "nested deeper"),
        (b'<?xml version="1.0" encoding="klingon"?><LWM2M/>', "UTF-8|broken in line"),
        (b'<?xml version="1.0" encoding="utf-7"?><LWM2M/>', "UTF-8|broken in line"),
        (ddf(), "no resources"),
        (ddf(item(), object_id="x"), "ObjectID is 'x'"),
        (ddf(item(), object_id=65535), "from 0 to 65534"),
        (ddf(item(), object_id=-1), "ObjectID"),
        (ddf(item(), urn="urn:oma:lwm2m:x:40001"), "make them agree"),
        (ddf(item(), versions="<ObjectVersion>two</ObjectVersion>"), "like 1.0"),
        (ddf(item(), multiple="Many"), "Multiple or Single"),
        (ddf(item(), item()), "Resource 1 is defined twice"),
        (ddf(item(id="one")), "ID of an Item"),
        (ddf(item(name=" ")), "Resource 1 has no Name"),
        (ddf(item(name="x" * 300)), "300 characters"),
        (ddf(item(operations="X")), "R, W, RW, E"),
        (ddf(item(type="Double")), "Type is 'Double'"),
        (ddf(item().replace("</Item>", "<Name>b</Name></Item>")), "Name stands twice"),
    ],
)
def test_what_is_refused_says_why(xml: bytes, reason: str) -> None:
    with pytest.raises(DdfError, match=reason) as caught:
        parse_ddf(xml)
    assert caught.value.reason == str(caught.value)
    assert caught.value.reason.endswith(".")


def test_elements_in_other_places_do_not_count() -> None:
    xml = ddf(item().replace("</Item>", "<Extra><Name>x</Name></Extra></Item>"))
    assert parse_ddf(xml).resources[1].name == "Level"
