"""Bootstrap plans: kept when the lint has nothing against them, and not taken from a device that has one."""

from __future__ import annotations

from pathlib import Path as File

import pytest

from appliance.devices.errors import DeviceError
from appliance.devices.plans import DEFAULT_PLAN, MAX_PLANS, Plans
from appliance.lwm2m.bootstrap_plan import BUILT_IN
from appliance.lwm2m.definitions import Definitions
from appliance.storage.documents import open_documents

DEFINITIONS = Definitions.registered()
BODY = {"name": "cellar", "servers": [{"lifetime_s": 600}]}


def opened(folder: File, *users: str) -> Plans:
    return Plans(folder, DEFINITIONS, lambda _: users)


def test_a_device_without_a_plan_has_the_built_in_one(tmp_path: File) -> None:
    plans = opened(tmp_path)
    assert plans.find(None) == plans.find(DEFAULT_PLAN) == (DEFAULT_PLAN, BUILT_IN)
    assert plans.find("other") is None
    (only,) = plans.all()
    assert (only["id"], only["built_in"], only["name"]) == (DEFAULT_PLAN, True, "Default")


def test_a_plan_is_kept_over_a_restart_and_comes_back_as_it_was_put(tmp_path: File) -> None:
    made = opened(tmp_path).put(None, BODY)
    plans = opened(tmp_path)
    assert plans.shown(made["id"]) == made
    assert made["servers"][0]["lifetime_s"] == 600
    assert [plan["name"] for plan in plans.all()] == ["Default", "cellar"]
    # What GET gives can be put again, changed.
    changed = plans.put(made["id"], made | {"description": "by the door"})
    assert changed["description"] == "by the door"
    found = plans.find(made["id"])
    assert found is not None
    assert found[1].description == "by the door"
    plans.remove(made["id"])
    assert opened(tmp_path).find(made["id"]) is None


def test_the_built_in_plan_can_be_replaced_and_comes_back(tmp_path: File) -> None:
    plans = opened(tmp_path)
    with pytest.raises(DeviceError) as refused:
        plans.remove(DEFAULT_PLAN)
    assert refused.value.kind == "conflict"
    mine = plans.put(DEFAULT_PLAN, BODY)
    assert (mine["id"], mine["built_in"]) == (DEFAULT_PLAN, False)
    assert opened(tmp_path).shown(DEFAULT_PLAN)["name"] == "cellar"
    plans.remove(DEFAULT_PLAN)
    assert plans.shown(DEFAULT_PLAN)["built_in"]


def test_a_plan_with_problems_is_not_kept_and_every_problem_is_told(tmp_path: File) -> None:
    plans = opened(tmp_path)
    with pytest.raises(DeviceError) as refused:
        plans.put(None, {"name": "bad", "servers": [{"short_server_id": 0, "lifetime_s": 0}]})
    assert refused.value.kind == "invalid"
    assert "short_server_id" in refused.value.message
    assert "lifetime_s" in refused.value.message
    assert len(plans.all()) == 1


def test_what_is_not_there_is_not_found(tmp_path: File) -> None:
    plans = opened(tmp_path)
    for call in (plans.shown, plans.remove, lambda plan_id: plans.put(plan_id, BODY)):
        with pytest.raises(DeviceError) as refused:
            call("nothing")  # type: ignore[operator]
        assert refused.value.kind == "not_found"


def test_two_plans_do_not_share_a_name(tmp_path: File) -> None:
    plans = opened(tmp_path)
    plans.put(None, BODY)
    for name in ("cellar", "Default"):
        with pytest.raises(DeviceError) as refused:
            plans.put(None, BODY | {"name": name})
        assert refused.value.kind == "conflict"


def test_a_plan_that_a_device_has_stays(tmp_path: File) -> None:
    plans = opened(tmp_path, "meter-1", "meter-2")
    made = plans.put(None, BODY)
    with pytest.raises(DeviceError) as refused:
        plans.remove(made["id"])
    assert refused.value.message == "2 devices have this plan, meter-1 for one"
    plans.put(DEFAULT_PLAN, BODY | {"name": "ours"})
    plans.remove(DEFAULT_PLAN)


def test_plans_are_few(tmp_path: File, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PLANS >= 100
    monkeypatch.setattr("appliance.devices.plans.MAX_PLANS", 1)
    plans = opened(tmp_path)
    plans.put(None, BODY)
    with pytest.raises(DeviceError) as refused:
        plans.put(None, BODY | {"name": "second"})
    assert refused.value.kind == "busy"


def test_a_document_that_no_plan_can_be_made_of_is_left_out(
    tmp_path: File, caplog: pytest.LogCaptureFixture
) -> None:
    open_documents(tmp_path, "bootstrap-plans").table("plans").insert({"id": "x", "name": "", "servers": []})
    plans = opened(tmp_path)
    assert plans.find("x") is None
    assert "the bootstrap plan x cannot be used" in caplog.text
