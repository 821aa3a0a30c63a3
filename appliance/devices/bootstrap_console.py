"""Bootstrapping as the floor above sees it: plans and sessions, in the shapes of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from appliance.devices.bootstrap import Bootstraps
from appliance.devices.bootstrap_sessions import Sessions
from appliance.devices.errors import DeviceError
from appliance.devices.plans import Plans

MAX_LISTED: Final = 500


class BootstrapConsole:
    """Called in the event loop."""

    def __init__(self, plans: Plans, sessions: Sessions, bootstraps: Bootstraps) -> None:
        self._plans = plans
        self._sessions = sessions
        self._bootstraps = bootstraps

    def plans(self) -> dict[str, Any]:
        """{"plans": […]}, the default one first."""
        return {"plans": self._plans.all()}

    def plan(self, plan_id: str) -> dict[str, Any]:
        """One plan. Raises DeviceError."""
        return self._plans.shown(plan_id)

    def put_plan(self, plan_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make (id None) or change a plan, and let whoever was told to wait try again. Raises DeviceError."""
        shown = self._plans.put(plan_id, body)
        self._bootstraps.forgive()
        return shown

    def remove_plan(self, plan_id: str) -> None:
        """Raises DeviceError, also when a device has it."""
        self._plans.remove(plan_id)
        self._bootstraps.forgive()

    def check_plan(self, body: object) -> dict[str, list[str]]:
        """{"problems", "warnings"}: sentences. A plan with problems would not be kept."""
        checked = self._plans.check(body)
        return {"problems": checked.problems, "warnings": checked.warnings}

    def sessions(self, endpoint_name: str = "", limit: int = 50) -> dict[str, Any]:
        """{"sessions": […]}, the newest first."""
        found = self._sessions.list(endpoint_name, max(1, min(limit, MAX_LISTED)))
        return {"sessions": [session.to_api() for session in found]}

    def session(self, session_id: int) -> dict[str, Any]:
        """One session. Raises DeviceError."""
        session = self._sessions.get(session_id)
        if session is None:
            raise DeviceError(
                "not_found",
                f"no bootstrap session has the number {session_id}",
                "GET /api/v1/bootstrap/sessions lists those that are kept.",
            )
        return session.to_api()
