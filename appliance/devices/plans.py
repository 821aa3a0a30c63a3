"""The document of bootstrap plans: what people want devices to be given (OMA Core §6.1).

A plan is kept only when the lint has nothing against it. One plan is built in and good for every device that
has none of its own: a document with its id takes its place, and removing that brings the built-in one back.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any, Final

from tinydb import where

from appliance.devices.errors import DeviceError, durably
from appliance.lwm2m.bootstrap_plan import BUILT_IN, Checked, Plan, check_plan
from appliance.lwm2m.definitions import Definitions
from appliance.storage.documents import open_documents

log = logging.getLogger(__name__)

DEFAULT_PLAN: Final = "default"
MAX_PLANS: Final = 200


def plan_ids(folder: File) -> list[str]:
    """The ids of all plans kept there, the default one first, whether they can be used or not."""
    documents = open_documents(folder, "bootstrap-plans")
    kept = sorted(str(document["id"]) for document in documents.table("plans").all())
    return [DEFAULT_PLAN, *(one for one in kept if one != DEFAULT_PLAN)]


class Plans:
    """``used_by`` tells which devices have a plan. Every method that writes is durable when it returns."""

    def __init__(
        self,
        folder: File,
        definitions: Definitions,
        used_by: Callable[[str], Sequence[str]] = lambda _: (),
    ) -> None:
        self._documents = open_documents(folder, "bootstrap-plans")
        self._definitions = definitions
        self._used_by = used_by
        self._plans: dict[str, Plan] = {}
        for document in self._documents.table("plans").all():
            plan_id = str(document["id"])
            checked = check_plan(document, definitions)
            if checked.plan is None:
                log.error("the bootstrap plan %s cannot be used: %s", plan_id, " ".join(checked.problems))
                continue
            self._plans[plan_id] = checked.plan

    def find(self, plan_id: str | None) -> tuple[str, Plan] | None:
        """The id and the plan for a device that is to have this one; None when there is no such plan."""
        wanted = plan_id or DEFAULT_PLAN
        plan = self._plans.get(wanted)
        if plan is None and wanted == DEFAULT_PLAN:
            plan = BUILT_IN
        return None if plan is None else (wanted, plan)

    def all(self) -> list[dict[str, Any]]:
        """All of them in the shape of the API, the default one first, then by name."""
        found = {DEFAULT_PLAN: BUILT_IN, **self._plans}
        order = sorted(found, key=lambda one: (one != DEFAULT_PLAN, found[one].name.casefold(), one))
        return [self.shown(plan_id) for plan_id in order]

    def shown(self, plan_id: str) -> dict[str, Any]:
        """One plan: the members of `lwm2m.bootstrap_plan`, ``id`` and ``built_in``. Raises DeviceError."""
        found = self.find(plan_id)
        if found is None:
            raise DeviceError(
                "not_found",
                f"no bootstrap plan has the id {plan_id!r}",
                "GET /api/v1/bootstrap/plans lists them.",
            )
        return {"id": plan_id, "built_in": plan_id not in self._plans, **found[1].to_api()}

    def check(self, body: object) -> Checked:
        """What is wrong with a plan, and what is odd about it; keeps nothing."""
        return check_plan(body, self._definitions)

    def put(self, plan_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a plan (id None), or change one. Raises DeviceError with every problem in it."""
        if plan_id is None and len(self._plans) >= MAX_PLANS:
            raise DeviceError("busy", f"there are {MAX_PLANS} bootstrap plans already", "Remove one.")
        if plan_id is not None:
            self.shown(plan_id)
        checked = self.check(body)
        if checked.plan is None:
            raise DeviceError("invalid", " ".join(checked.problems), "Correct the plan; nothing was changed.")
        plan_id = plan_id or secrets.token_hex(4)
        for other, plan in ({DEFAULT_PLAN: BUILT_IN} | self._plans).items():
            if plan.name == checked.plan.name and other != plan_id:
                raise DeviceError(
                    "conflict", f"a bootstrap plan is named {plan.name!r} already", "Choose another name."
                )
        with durably():
            document = {"id": plan_id, **checked.plan.to_api()}
            self._documents.table("plans").upsert(document, where("id") == plan_id)
        self._plans[plan_id] = checked.plan
        return self.shown(plan_id)

    def remove(self, plan_id: str) -> None:
        """Take one out. Raises DeviceError, also when a device has it."""
        if plan_id not in self._plans:
            self.shown(plan_id)
            raise DeviceError(
                "conflict",
                "the built-in plan cannot be removed",
                "Change it, and it is yours until you remove it.",
            )
        users = () if plan_id == DEFAULT_PLAN else self._used_by(plan_id)
        if users:
            raise DeviceError(
                "conflict",
                f"{len(users)} devices have this plan, {users[0]} for one",
                "Give them another plan first.",
            )
        with durably():
            self._documents.table("plans").remove(where("id") == plan_id)
        del self._plans[plan_id]
