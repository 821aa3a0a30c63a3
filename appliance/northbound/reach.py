"""How far an account reaches: its permissions on groups of devices, on top of its scopes.

The law of this file: an account with an entry in the vault sees and does only what that entry says. A device
outside its groups does not exist for it. What belongs to no device (models, templates, accounts, the audit
log) may be looked at as the scope allows, but is changed only by who may do the same with every device.
Accounts without an entry, and tokens, are ruled by their scopes alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.identity.principals import Principal
from appliance.northbound.errors import ApiError
from appliance.vault.model import RIGHTS, Permissions
from appliance.vault.vault import Vault

_ASK: Final = "Ask somebody who may do so with every device."


class Reach:
    """What one caller may do. Looked up anew at each question, so that a change counts at once, also for a
    stream that runs; costs two looks at dictionaries and may be asked in any thread.
    """

    __slots__ = ("_account", "_vault")

    def __init__(self, principal: Principal | None, vault: Vault | None) -> None:
        self._account = principal.name if principal is not None and principal.kind == "account" else ""
        self._vault = vault

    @property
    def is_everywhere(self) -> bool:
        """Whether the scopes alone decide."""
        return self._permissions() is None

    def may(self, endpoint_name: str, scope: str) -> bool:
        """Whether this device may be read, operated or administered."""
        permissions = self._permissions()
        if permissions is None or self._vault is None:
            return True
        device = self._vault.device(endpoint_name)
        return _reaches(permissions.right(() if device is None else device.groups), scope)

    def sees(self, endpoint_name: str) -> bool:
        """Whether this device exists for the caller."""
        return self.may(endpoint_name, "read")

    def require(self, endpoint_name: str, scope: str) -> None:
        """Raises ApiError: "not_found" as for a device that is not there, "forbidden" for one that is."""
        if self.may(endpoint_name, scope):
            return
        if not self.sees(endpoint_name):
            raise unknown_device(endpoint_name)
        raise ApiError(
            "forbidden",
            f"your right on the groups of {endpoint_name} is not {scope}",
            "Ask somebody who may change permissions.",
        )

    def everywhere(self, scope: str) -> bool:
        """Whether the caller may do so with every device, those included that are to come."""
        permissions = self._permissions()
        return permissions is None or _reaches(permissions.right(()), scope)

    def require_everywhere(self, scope: str) -> None:
        """Raises ApiError("forbidden")."""
        if not self.everywhere(scope):
            raise ApiError("forbidden", "this is for accounts that are not narrowed to groups", _ASK)

    def administers(self, groups: Iterable[str]) -> bool:
        """Whether devices may be put into, and taken out of, all of these groups."""
        permissions = self._permissions()
        return permissions is None or all(_reaches(permissions.right((group,)), "admin") for group in groups)

    def over_new(self, groups: tuple[str, ...]) -> str:
        """Why the caller may not add a device with these groups, "" when it may."""
        if self.everywhere("admin"):
            return ""
        if not groups:
            return "you may add devices only to your groups: name one"
        return "" if self.administers(groups) else f"you may not add devices to {' and '.join(groups)}"

    def shows_group(self, group: str) -> bool:
        """Whether devices of this group are seen."""
        permissions = self._permissions()
        return permissions is None or permissions.right((group,)) is not None

    def _permissions(self) -> Permissions | None:
        if not self._account or self._vault is None:
            return None
        return self._vault.permissions(self._account)


def unknown_device(endpoint_name: str) -> ApiError:
    """As for a device that is not there."""
    return ApiError(
        "not_found",
        f"no device is named {endpoint_name!r}",
        "Names are case-sensitive; GET /api/v1/devices lists them.",
    )


def _reaches(right: str | None, scope: str) -> bool:
    return right is not None and RIGHTS.index(right) >= RIGHTS.index(scope)
