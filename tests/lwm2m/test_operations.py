"""Arguments of Execute (OMA Core 1.1.1 §6.3.5)."""

from __future__ import annotations

import pytest

from appliance.lwm2m.operations import check_execute_arguments


@pytest.mark.parametrize(
    "arguments", ["", "0", "0='x'", "0='x',1", "5,2='10.3',7='https://a/b?c'", "9=''", "0='ä, b=c'"]
)
def test_argument_lists(arguments: str) -> None:
    check_execute_arguments(arguments)


@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        ("x", "character 1 of the arguments begins no argument"),
        ("0=x", "no comma"),
        ("0='x", "no comma"),
        ("0,", "character 3 of the arguments begins no argument"),
        ("0, 1", "begins no argument"),
        ("0,0", "use each digit once"),
        ("12", "no comma"),
        ("0='a\nb'", "no comma"),
        ("٣", "begins no argument"),
        (",0", "begins no argument"),
    ],
)
def test_what_is_no_argument_list_is_told(arguments: str, next_step: str) -> None:
    with pytest.raises(ValueError, match=next_step):
        check_execute_arguments(arguments)
