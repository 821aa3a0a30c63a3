"""The shapes of trust: devices in the vault and what they are told, permissions, strangers, bootstrap, the
authority. A table: one entry a shape.
"""

from __future__ import annotations

from typing import Final

from appliance.northbound.shape import (
    FLAG,
    NAME,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    TEXT,
    TIME,
    WHOLE,
    Json,
    listed,
    ref,
    shape,
)
from appliance.vault.importing import SECURITIES
from appliance.vault.model import MODES, PURPOSES, RIGHTS

_EP: Final = "urn:dev:os:0023C7-000123"
_AT: Final = "2026-05-04T10:00:00Z"
_PEM: Final[Json] = {"type": "string", "maxLength": 65536, "description": "PEM"}
ENDPOINT_NAME: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 255}
LABEL: Final[Json] = {"type": "string", "maxLength": 200}
WORDS: Final[Json] = {"type": "array", "maxItems": 32, "items": {"type": "string", "maxLength": 64}}
PLAN: Final[Json] = {"type": ["string", "null"], "maxLength": 64, "description": "Bootstrap plan, by its id."}
SECURITY: Final[Json] = {"type": "string", "enum": list(SECURITIES)}
PURPOSE: Final[Json] = {"type": "string", "enum": list(PURPOSES)}
_MATERIAL: Final[Json] = {
    "psk_identity": {"type": "string", "minLength": 1, "maxLength": 128},
    "psk_identity_hex": {"type": "string", "minLength": 2, "maxLength": 256},
    "psk_key_hex": {"type": "string", "maxLength": 256, "format": "password"},
    "public_key_pem": {**_PEM, "description": "SubjectPublicKeyInfo, P-256; PEM, hex or base64."},
    "certificate_pem": {**_PEM, "description": "PEM, hex or base64."},
    "csr_pem": {**_PEM, "description": "A request to be signed by the own authority."},
}
_CONTACT_EXAMPLE: Final[Json] = {"state": "waiting", "text": "Nothing was heard from it yet.", "at": None}
_FAILURE: Final[Json] = {"at": _AT, "text": "The device has another key."}
_CREDENTIAL_EXAMPLE: Final[Json] = {
    "id": "5f0c2a9117d3b5e0",
    "purpose": "server",
    "mode": "psk",
    "identity": f"psk:{_EP}",
    "state": "active",
    "made_at": _AT,
    "changed_at": _AT,
    "expires_at": None,
    "reason": "",
    "public": {"identity_hex": "75726e"},
    "last_used_at": None,
    "last_failure": None,
}
_DEVICE_EXAMPLE: Final[Json] = {
    "endpoint_name": _EP,
    "label": "Cellar, left",
    "groups": ["house-7"],
    "tags": [],
    "nosec": False,
    "blocked": False,
    "plan": None,
    "made_at": _AT,
    "rebootstrap_asked_at": None,
    "credentials": [_CREDENTIAL_EXAMPLE],
    "contact": _CONTACT_EXAMPLE,
}
_DEVICE: Final[Json] = {
    "endpoint_name": TEXT,
    "label": TEXT,
    "groups": {"type": "array", "items": TEXT},
    "tags": {"type": "array", "items": TEXT},
    "nosec": {**FLAG, "description": "May come without security."},
    "blocked": FLAG,
    "plan": OPTIONAL_TEXT,
    "made_at": TIME,
    "rebootstrap_asked_at": OPTIONAL_TIME,
    "credentials": listed("VaultCredential"),
    "contact": ref("Contact"),
}
_PROVISIONING_EXAMPLE: Final[Json] = {
    "uri": "coaps://192.0.2.1:5684",
    "security": "psk",
    "psk_identity": _EP,
    "psk_identity_hex": "75726e",
    "psk_key_hex": "00112233445566778899aabbccddeeff",
    "commands": {"leshan": "java -jar leshan-demo-client.jar -n …"},
    "qr_svg": "<svg/>",
}
_OSCORE: Final[Json] = {
    "type": "object",
    "description": "As the client has it, bytes in hex: sender_id, recipient_id, id_context, master_secret, "
    "master_salt; aead and hkdf are COSE numbers.",
}
_ACCOUNT: Final[Json] = {
    "uri": TEXT,
    "security": SECURITY,
    "psk_identity": TEXT,
    "psk_identity_hex": TEXT,
    "psk_key_hex": TEXT,
    "public_key_pem": _PEM,
    "private_key_pem": _PEM,
    "certificate_pem": _PEM,
    "server_public_key_pem": _PEM,
    "server_certificate_pem": _PEM,
    "authority_pem": _PEM,
    "oscore": _OSCORE,
}
_OPTIONAL_OF_ACCOUNT: Final = tuple(name for name in _ACCOUNT if name not in ("uri", "security"))
_STRANGER_EXAMPLE: Final[Json] = {
    "id": 7,
    "endpoint_name": "meter-9",
    "identity": None,
    "address": "192.0.2.9:5683",
    "bearer": "UDP",
    "first_seen_at": _AT,
    "last_seen_at": _AT,
    "count": 3,
    "reason": "meter-9 came without security (NoSec), which is not allowed for it.",
    "state": "waiting",
    "can_accept": True,
}
_PLAN_EXAMPLE: Final[Json] = {
    "id": "4f2a90",
    "name": "Meters",
    "description": "",
    "servers": [{"short_server_id": 1, "uri": "$uri", "security": "auto", "key": "fresh"}],
    "bootstrap_servers": [],
    "access_control": [],
    "deletes": ["/0", "/1", "/2", "/21"],
    "writes": {},
    "write_by": "instance",
    "read_back": False,
}
_PLAN: Final[Json] = {
    "id": TEXT,
    "built_in": FLAG,
    "name": {"type": "string", "maxLength": 64},
    "description": {"type": "string", "maxLength": 1000},
    "servers": {"type": "array", "maxItems": 64, "items": {"type": "object"}},
    "bootstrap_servers": {"type": "array", "maxItems": 64, "items": {"type": "object"}},
    "access_control": {"type": "array", "maxItems": 256, "items": {"type": "object"}},
    "deletes": {"type": "array", "maxItems": 256, "items": TEXT},
    "writes": {"type": "object", "maxProperties": 256},
    "write_by": {"type": "string", "enum": ["instance", "object"]},
    "read_back": FLAG,
}
_STEP_EXAMPLE: Final[Json] = {
    "at": _AT,
    "what": "Write",
    "path": "/0/1",
    "code": "2.04",
    "text": "Changed",
    "ok": True,
}
_SESSION_EXAMPLE: Final[Json] = {
    "id": 12,
    "endpoint_name": _EP,
    "started_at": _AT,
    "ended_at": _AT,
    "state": "finished",
    "text": "The device has its new configuration.",
    "steps": [_STEP_EXAMPLE],
}
_SERVER_EXAMPLE: Final[Json] = {
    "names": ["homard.local", "192.0.2.1"],
    "not_after": "2046-05-04T10:00:00Z",
    "fingerprint": "AB:CD",
    "public_key_pem": "-----BEGIN PUBLIC KEY-----",
}
_ANCHOR_EXAMPLE: Final[Json] = {
    "subject": "CN=Factory CA",
    "not_after": "2046-05-04T10:00:00Z",
    "fingerprint": "AB:CD",
    "certificate_pem": "-----BEGIN CERTIFICATE-----",
    "added_at": _AT,
}
_IMPORT_ROW: Final[Json] = {"row": 2, "endpoint_name": _EP, "problems": []}
_PROVISIONED_EXAMPLE: Final[Json] = {**_DEVICE_EXAMPLE, "provisioning": _PROVISIONING_EXAMPLE}
_PERMISSION_EXAMPLE: Final[Json] = {"account": "eva", "groups": {"house-7": "operate"}}
_GROUPS: Final[Json] = {
    "type": "object",
    "maxProperties": 200,
    "additionalProperties": {"type": "string", "enum": list(RIGHTS)},
    "description": 'Rights by group of devices; "*" is every device.',
}
_ENTRY_EXAMPLE: Final[Json] = {
    "seq": 3,
    "at": _AT,
    "by": "ines",
    "what": f"device added: psk:{_EP}",
    "about": _EP,
}

VAULT_SHAPES: Final[dict[str, Json]] = {
    "Contact": shape(
        _CONTACT_EXAMPLE,
        {
            "state": {
                "type": "string",
                "enum": ["waiting", "failed", "bootstrapping", "registered", "gone"],
            },
            "text": {**TEXT, "description": "How far it has come, in one sentence."},
            "at": OPTIONAL_TIME,
        },
    ),
    "VaultCredential": shape(
        _CREDENTIAL_EXAMPLE,
        {
            "id": TEXT,
            "purpose": PURPOSE,
            "mode": {"type": "string", "enum": list(MODES)},
            "identity": TEXT,
            "state": {"type": "string", "enum": ["active", "staged", "retiring", "revoked"]},
            "made_at": TIME,
            "changed_at": TIME,
            "expires_at": OPTIONAL_TIME,
            "reason": TEXT,
            "public": {"type": "object", "description": "What of it is no secret."},
            "last_used_at": OPTIONAL_TIME,
            "last_failure": {
                "type": ["object", "null"],
                "properties": {"at": TIME, "text": TEXT},
                "required": ["at", "text"],
                "example": _FAILURE,
            },
        },
    ),
    "VaultDevice": shape(_DEVICE_EXAMPLE, _DEVICE),
    "VaultDevices": shape(
        {"devices": [_DEVICE_EXAMPLE], "next": None},
        {"devices": listed("VaultDevice"), "next": OPTIONAL_TEXT},
    ),
    "Provisioning": shape(
        _PROVISIONING_EXAMPLE,
        {
            **_ACCOUNT,
            "bootstrap_uri": TEXT,
            "bootstrap": ref("ProvisionedAccount"),
            "commands": {
                "type": "object",
                "additionalProperties": TEXT,
                "description": "Ready lines for clients: leshan, anjay, wakaama, zephyr.",
            },
            "qr_svg": {**TEXT, "description": "With the PSK key; left out in long lists."},
        },
        optional=(*_OPTIONAL_OF_ACCOUNT, "bootstrap_uri", "bootstrap", "qr_svg"),
    ),
    "ProvisionedAccount": shape(
        {name: _PROVISIONING_EXAMPLE[name] for name in ("uri", "security", "psk_identity", "psk_key_hex")},
        _ACCOUNT,
        optional=_OPTIONAL_OF_ACCOUNT,
    ),
    "Provisioned": shape(
        _PROVISIONED_EXAMPLE,
        {**_DEVICE, "provisioning": ref("Provisioning")},
    ),
    "NewVaultDevice": shape(
        {"endpoint_name": _EP, "label": "Cellar, left", "groups": ["house-7"], "security": "psk"},
        {
            "endpoint_name": ENDPOINT_NAME,
            "label": LABEL,
            "groups": WORDS,
            "tags": WORDS,
            "security": SECURITY,
            "bootstrap": {
                **FLAG,
                "description": "The key is for the bootstrap server; a plan gives the rest.",
            },
            "plan": PLAN,
            **_MATERIAL,
        },
        optional=("label", "groups", "tags", "security", "bootstrap", "plan", *_MATERIAL),
        closed=True,
    ),
    "ChangedVaultDevice": shape(
        {"label": "Cellar, right"},
        {"label": LABEL, "groups": WORDS, "tags": WORDS, "nosec": FLAG, "blocked": FLAG, "plan": PLAN},
        optional=("label", "groups", "tags", "nosec", "blocked", "plan"),
        closed=True,
    ),
    "Rotate": shape(
        {"purpose": "server", "how": "staged"},
        {
            "purpose": PURPOSE,
            "how": {
                "type": "string",
                "enum": ["now", "staged"],
                "description": "staged: the old key opens until the new one is used; now: no longer.",
            },
            **_MATERIAL,
        },
        optional=("purpose", "how", *_MATERIAL),
        closed=True,
    ),
    "Revoke": shape(
        {"reason": "stolen"},
        {
            "reason": {"type": "string", "maxLength": 200},
            "credential_id": {"type": "string", "maxLength": 64},
        },
        optional=("reason", "credential_id"),
        closed=True,
    ),
    "Rebootstrap": shape(
        {"group": "house-7"},
        {
            "endpoint_names": {"type": "array", "minItems": 1, "maxItems": 20000, "items": ENDPOINT_NAME},
            "group": NAME,
        },
        optional=("endpoint_names", "group"),
        closed=True,
    ),
    "GivenPlan": shape(
        {"group": "house-7", "plan": None},
        {
            "endpoint_names": {"type": "array", "minItems": 1, "maxItems": 20000, "items": ENDPOINT_NAME},
            "group": NAME,
            "plan": OPTIONAL_TEXT,
        },
        optional=("endpoint_names", "group"),
        closed=True,
    ),
    "Changed": shape({"changed": 12}, {"changed": WHOLE}),
    "Withdrawn": shape({"withdrawn": 12}, {"withdrawn": WHOLE}),
    "Asked": shape({"asked": True}, {"asked": {"type": ["boolean", "integer"]}}),
    "ImportReport": shape(
        {"added": 1, "rows": [_IMPORT_ROW], "devices": [_PROVISIONED_EXAMPLE]},
        {
            "added": WHOLE,
            "rows": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "row": WHOLE,
                        "endpoint_name": TEXT,
                        "problems": {"type": "array", "items": TEXT},
                    },
                    "required": ["row", "endpoint_name", "problems"],
                },
            },
            "devices": listed("Provisioned"),
        },
    ),
    "Audit": shape(
        {"entries": [_ENTRY_EXAMPLE], "sound": True, "problems": []},
        {
            "entries": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"seq": WHOLE, "at": TIME, "by": TEXT, "what": TEXT, "about": TEXT},
                    "required": ["seq", "at", "by", "what", "about"],
                },
            },
            "sound": {**FLAG, "description": "Whether the log is as it was written."},
            "problems": {"type": "array", "items": TEXT},
        },
    ),
    "Groups": shape({"groups": ["house-7"]}, {"groups": {"type": "array", "items": TEXT}}),
    "Permission": shape(
        _PERMISSION_EXAMPLE,
        {"account": TEXT, "groups": {**_GROUPS, "type": ["object", "null"]}},
    ),
    "Permissions": shape({"permissions": [_PERMISSION_EXAMPLE]}, {"permissions": listed("Permission")}),
    "SetPermission": shape({"groups": {"house-7": "operate"}}, {"groups": _GROUPS}, closed=True),
    "Stranger": shape(
        _STRANGER_EXAMPLE,
        {
            "id": WHOLE,
            "endpoint_name": TEXT,
            "identity": OPTIONAL_TEXT,
            "address": TEXT,
            "bearer": TEXT,
            "first_seen_at": TIME,
            "last_seen_at": TIME,
            "count": WHOLE,
            "reason": TEXT,
            "state": {"type": "string", "enum": ["waiting", "ignored", "blocked"]},
            "can_accept": FLAG,
        },
    ),
    "Strangers": shape({"strangers": [_STRANGER_EXAMPLE]}, {"strangers": listed("Stranger")}),
    "Accept": shape(
        {"endpoint_name": "meter-9"},
        {"endpoint_name": ENDPOINT_NAME},
        optional=("endpoint_name",),
        closed=True,
    ),
    "Plan": shape(
        _PLAN_EXAMPLE,
        _PLAN,
        optional=tuple(name for name in _PLAN if name not in ("id", "name", "servers")),
    ),
    "Plans": shape({"plans": [_PLAN_EXAMPLE]}, {"plans": listed("Plan")}),
    "NewPlan": shape(
        {name: value for name, value in _PLAN_EXAMPLE.items() if name != "id"},
        # What is wrong with its parts is said by the check of plans, all of it at once.
        {name: {} for name in _PLAN},
        optional=tuple(name for name in _PLAN if name != "name"),
    ),
    "PlanCheck": shape(
        {"problems": [], "warnings": []},
        {"problems": {"type": "array", "items": TEXT}, "warnings": {"type": "array", "items": TEXT}},
    ),
    "BootstrapSession": shape(
        _SESSION_EXAMPLE,
        {
            "id": WHOLE,
            "endpoint_name": TEXT,
            "started_at": TIME,
            "ended_at": OPTIONAL_TIME,
            "state": {"type": "string", "enum": ["running", "finished", "failed"]},
            "text": TEXT,
            "steps": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "at": TIME,
                        "what": TEXT,
                        "path": TEXT,
                        "code": OPTIONAL_TEXT,
                        "text": TEXT,
                        "ok": FLAG,
                    },
                    "required": ["at", "what", "path", "code", "text", "ok"],
                    "example": _STEP_EXAMPLE,
                },
            },
        },
    ),
    "BootstrapSessions": shape({"sessions": [_SESSION_EXAMPLE]}, {"sessions": listed("BootstrapSession")}),
    "Authority": shape(
        {
            "subject": "CN=Homard Edge authority 1f2e",
            "not_after": "2046-05-04T10:00:00Z",
            "fingerprint": "AB:CD",
            "certificate_pem": "-----BEGIN CERTIFICATE-----",
            "server": _SERVER_EXAMPLE,
        },
        {
            "subject": TEXT,
            "not_after": TIME,
            "fingerprint": {**TEXT, "description": "SHA-256 of the certificate."},
            "certificate_pem": _PEM,
            "server": {
                "type": "object",
                "properties": {
                    "names": {"type": "array", "items": TEXT},
                    "not_after": TIME,
                    "fingerprint": TEXT,
                    "public_key_pem": _PEM,
                },
                "required": ["names", "not_after", "fingerprint", "public_key_pem"],
            },
        },
    ),
    "SignRequest": shape(
        {"endpoint_name": _EP, "csr_pem": "-----BEGIN CERTIFICATE REQUEST-----"},
        {"endpoint_name": ENDPOINT_NAME, "csr_pem": {**_PEM, "minLength": 1}},
        closed=True,
    ),
    "SignedCertificate": shape(
        {"certificate_pem": "-----BEGIN CERTIFICATE-----", "chain_pem": "-----BEGIN CERTIFICATE-----"},
        {"certificate_pem": _PEM, "chain_pem": _PEM},
    ),
    "Anchor": shape(
        _ANCHOR_EXAMPLE,
        {"subject": TEXT, "not_after": TIME, "fingerprint": TEXT, "certificate_pem": _PEM, "added_at": TIME},
    ),
    "Anchors": shape({"anchors": [_ANCHOR_EXAMPLE]}, {"anchors": listed("Anchor")}),
}
