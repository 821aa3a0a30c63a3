"""Lists of devices in and out: CSV as spreadsheets write it, or JSON. Pure: text to rows, rows to text.

What is wrong with a row is said for every row, and what is right is not added while one is wrong; that part
is the vault's. What goes out has no secrets and can be taken in again: a device that comes back gets new
keys.

CSV: comma, semicolon or tabulator, with or without a byte order mark, quoted as in RFC 4180; the first line
names the columns, in any order and by any of their names below. Groups and tags stand in one cell, separated
by ``;`` or ``,`` or ``|``; a certificate is PEM, hex or base64, or ``sha256:`` and its fingerprint. JSON: a
list of objects with the same names, or that list as ``{"devices": [...]}``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from appliance.vault.errors import VaultError
from appliance.vault.identities import psk_identity_bytes
from appliance.vault.model import Credential, Device, NewCredential, NewDevice
from appliance.vault.provisioning import certificate_from, hex_from, printable, public_key_from

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_ROWS: Final = 20_000
MAX_CELL: Final = 16_384
MAX_COLUMNS: Final = 64

SECURITIES: Final = ("psk", "rpk", "x509", "oscore", "nosec")
COLUMNS: Final = (
    *("endpoint_name", "label", "groups", "tags", "security"),
    *("psk_identity", "psk_key_hex", "public_key", "certificate"),
    *("bootstrap_psk_identity", "bootstrap_psk_key_hex", "plan", "nosec"),
)
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "endpoint_name": ("endpoint", "ep", "endpointname", "client", "device", "name", "client endpoint"),
    "label": ("description", "title", "comment"),
    "groups": ("group",),
    "tags": ("tag",),
    "security": ("mode", "security mode", "securitymode"),
    "psk_identity": ("identity", "psk id", "pskid", "pskidentity", "id"),
    "psk_key_hex": ("psk", "key", "psk key", "pskkey", "key hex", "secret", "psk hex"),
    "public_key": ("rpk", "public key pem", "public key hex", "spki", "raw public key"),
    "certificate": ("cert", "certificate pem", "x509"),
    "bootstrap_psk_identity": ("bs psk identity", "bs identity", "bootstrap identity", "bs id"),
    "bootstrap_psk_key_hex": ("bs psk key hex", "bs key", "bootstrap key", "bootstrap psk", "bs psk"),
    "plan": ("bootstrap plan",),
    "nosec": ("no security", "allow nosec"),
}
_YES: Final = frozenset({"1", "true", "yes", "y", "x", "on", "si", "sí", "ja", "oui"})
_NO: Final = frozenset({"", "0", "false", "no", "n", "off", "nein", "non"})
_PIN: Final = "sha256:"
# A spreadsheet would take a cell that begins so for a formula (CSV injection); an apostrophe tells it not to.
_FORMULA: Final = re.compile(r"'*[=+@-]")


class Row(NamedTuple):
    """A row as it came: its number as an editor of the file counts it (JSON: place in the list, from 1), its
    endpoint name as far as it can be told, the device it describes or None, and what is wrong with it.
    """

    row: int
    endpoint_name: str
    device: NewDevice | None
    problems: tuple[str, ...]


def read_rows(data: bytes) -> list[Row]:
    """Every row of a CSV or JSON text. Raises VaultError when the whole cannot be understood."""
    if len(data) > MAX_BYTES:
        raise VaultError(f"the list is longer than {MAX_BYTES // 1024 // 1024} MB: split it")
    text = _decoded(data)
    if not text.strip():
        raise VaultError("the list is empty")
    raw = list(_from_json(text) if text.lstrip()[:1] in ("[", "{") else _from_csv(text))
    if not raw:
        raise VaultError("the list has no rows; the first line of CSV names the columns")
    if len(raw) > MAX_ROWS:
        raise VaultError(f"the list has more than {MAX_ROWS} rows: split it")
    return [_row(*one) for one in raw]


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # what spreadsheets call "Unicode text"
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise VaultError("the list begins as UTF-16, but is none") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise VaultError("the list is not UTF-8: save it as CSV UTF-8") from None


# Raw rows: (number, cells by column, problems)

_Raw = tuple[int, dict[str, Any], list[str]]


def _from_json(text: str) -> Iterable[_Raw]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise VaultError(f"the list is no JSON{where}") from None
    if isinstance(read, dict):
        read = read.get("devices")
    if not isinstance(read, list):
        raise VaultError('the JSON must be a list of devices, or an object with such a list as "devices"')
    for number, item in enumerate(read, 1):
        if not isinstance(item, dict):
            yield number, {}, ["it is no object with members"]
            continue
        cells: dict[str, Any] = {}
        problems = []
        for name, value in item.items():
            column, unknown = _column(str(name))
            if column is None:
                problems.append(unknown)
            elif column in cells:
                problems.append(f"{column} is there twice")
            else:
                cells[column] = value
        yield number, cells, problems


def _from_csv(text: str) -> Iterable[_Raw]:
    head = text.lstrip("\r\n").partition("\n")[0]
    if head.lower().startswith("sep="):  # what Excel writes to itself
        text = text.lstrip("\r\n").partition("\n")[2]
        lines, delimiter = 1, head.strip()[4:5] or ","
        head = text.partition("\n")[0]
    else:
        lines, delimiter = 0, max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str | None] | None = None
    at = lines
    while True:
        begin = lines + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise VaultError(f"line {begin}: the quotes do not fit ({error})") from None
        at = begin
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = _header(cells)
            continue
        problems: list[str] = []
        if any(cell.strip() for cell in cells[len(names) :]):
            problems.append(f"it has {len(cells)} cells, but there are {len(names)} columns")
        given = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name is not None}
        yield at, {name: _unguarded(cell) for name, cell in given.items() if cell}, problems


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _header(cells: Sequence[str]) -> list[str | None]:
    names: list[str | None] = []
    if len(cells) > MAX_COLUMNS:
        raise VaultError(f"the first line has more than {MAX_COLUMNS} columns")
    for cell in cells:
        if not cell.strip():
            names.append(None)
            continue
        column, unknown = _column(cell)
        if column is None:
            raise VaultError(f"the first line: {unknown}")
        if column in names:
            raise VaultError(f"the first line has the column {column} twice")
        names.append(column)
    if "endpoint_name" not in names:
        raise VaultError("the first line must name the columns, and one of them endpoint_name")
    return names


def _column(name: str) -> tuple[str | None, str]:
    """The column of that name, or why there is none."""
    plain = re.sub(r"[\s_-]+", " ", name).strip().casefold()
    found = _BY_ALIAS.get(plain)
    if found is not None:
        return found, ""
    meant = get_close_matches(plain, list(_BY_ALIAS), n=1)
    hint = f"did you mean {_BY_ALIAS[meant[0]]}?" if meant else f"known are {', '.join(COLUMNS)}"
    return None, f"there is no column {name.strip()[:40]!r}; {hint}"


_BY_ALIAS: Final = {
    **{alias: column for column, aliases in _ALIASES.items() for alias in aliases},
    **{column.replace("_", " "): column for column in COLUMNS},
}


# Rows to devices


def _row(number: int, cells: Mapping[str, Any], problems: list[str]) -> Row:
    """A row with its device, or with everything that is wrong with it."""
    problems = list(problems)

    def text(column: str) -> str:
        value = cells.get(column)
        if value is None:
            return ""
        if not isinstance(value, str):
            problems.append(f"{column} must be a text")
            return ""
        if len(value) > MAX_CELL:
            problems.append(f"{column} is longer than {MAX_CELL} characters")
            return ""
        return value

    name = text("endpoint_name").strip()
    if not name and not problems:
        problems.append("the endpoint name is missing")
    nosec = _flag(cells.get("nosec"), problems)
    security = text("security").strip().lower().replace("x.509", "x509")
    if security in ("none", "no security"):
        security = "nosec"
    credentials = list(_credentials(security, nosec, text, problems))
    device = NewDevice(
        name,
        text("label").strip(),
        _words("groups", cells.get("groups"), problems),
        _words("tags", cells.get("tags"), problems),
        nosec or security == "nosec",
        text("plan").strip() or None,
        tuple(credentials),
    )
    return Row(number, name, None if problems else device, tuple(dict.fromkeys(problems)))


def _credentials(security: str, nosec: bool, text: Any, problems: list[str]) -> Iterable[NewCredential]:
    """The keys of a row; what is wrong goes to ``problems``."""

    def read(column: str, what: str, parse: Any) -> bytes | None:
        value = text(column)
        try:
            return parse(value) if value.strip() else None
        except VaultError as error:
            problems.append(f"{column}: {error}")
            return None

    identity = _identity(text("psk_identity"), "psk_identity", problems)
    key = read("psk_key_hex", "key", lambda value: hex_from(value, "key"))
    public = read("public_key", "public key", public_key_from)
    pinned = text("certificate").strip().lower().startswith(_PIN)
    certificate = None if pinned else read("certificate", "certificate", certificate_from)
    first_identity = _identity(text("bootstrap_psk_identity"), "bootstrap_psk_identity", problems)
    first_key = read("bootstrap_psk_key_hex", "key", lambda value: hex_from(value, "key"))
    first = bool(text("bootstrap_psk_identity") or text("bootstrap_psk_key_hex"))
    psk = bool(text("psk_identity") or text("psk_key_hex"))
    given = [
        mode
        for mode, is_given in (("psk", psk), ("rpk", public), ("x509", certificate or pinned))
        if is_given
    ]
    if security and security not in SECURITIES:
        problems.append(f"security is one of {', '.join(SECURITIES)}, not {security[:40]!r}")
        return
    wrong = [mode for mode in given if security and mode != security]
    if wrong:
        problems.append(f"security is {security}, but there is material for {' and '.join(wrong)}")
    if not security and len(given) > 1:
        problems.append(f"there is material for {' and '.join(given)}: say in security which of them it is")
    # Without a word about security: what there is material for; a device with only a bootstrap key is given
    # the rest by its plan; else a key is made, and a certificate by the register.
    mode = security or (given[0] if given else "" if first or nosec else "psk")
    if mode == "psk":
        yield NewCredential("server", "psk", psk_identity=identity, psk_key=key)
    elif mode == "rpk":
        yield NewCredential("server", "rpk", spki=public)
    elif mode == "x509" and pinned:
        yield NewCredential("server", "x509", pinned_sha256=text("certificate").strip()[len(_PIN) :].strip())
    elif mode == "x509":
        yield NewCredential("server", "x509", certificate=certificate)
    elif mode == "oscore":
        yield NewCredential("server", "oscore")
    if first:
        yield NewCredential("bootstrap", "psk", psk_identity=first_identity, psk_key=first_key)


def _identity(text: str, column: str, problems: list[str]) -> bytes | None:
    """A PSK identity: text, or behind 0x hexadecimal digits."""
    text = text.strip()
    if not text:
        return None
    if not text.startswith("0x"):
        return text.encode("utf-8", "surrogatepass")
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        problems.append(f"{column}: behind 0x there must be hexadecimal digits, two for each byte")
        return None


def _flag(value: Any, problems: list[str]) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    said = str(value).strip().casefold()
    if said in _YES:
        return True
    if said not in _NO:
        problems.append(f"nosec is yes or no, not {said[:40]!r}")
    return False


def _words(column: str, value: Any, problems: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = re.split(r"[;,|]", value)
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        problems.append(f"{column} must be a list of texts")
        return ()
    return tuple(dict.fromkeys(word.strip() for word in value if word.strip()))


# Out


def export_rows(devices: Iterable[Device]) -> list[dict[str, Any]]:
    """Devices without secrets, in the columns of an import; certificates and public keys are none."""
    return [_exported(device) for device in devices]


def _exported(device: Device) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    server, first = device.credential("server"), device.credential("bootstrap")
    row |= {
        "endpoint_name": device.endpoint_name,
        "label": device.label,
        "groups": list(device.groups),
        "tags": list(device.tags),
        "plan": device.plan or "",
        "nosec": device.nosec,
    }
    if server is not None:
        row["security"] = server.mode
        row["psk_identity"] = _shown_identity(server)
        if server.mode == "rpk":
            row["public_key"] = server.public["spki_hex"]
        elif server.mode == "x509":
            pin = server.public.get("pinned_sha256")
            row["certificate"] = f"{_PIN}{pin}" if pin else server.public.get("certificate_pem", "")
    elif device.nosec:
        row["security"] = "nosec"
    if first is not None:
        row["bootstrap_psk_identity"] = _shown_identity(first)
    return row


def _shown_identity(credential: Credential) -> str:
    if credential.mode != "psk":
        return ""
    identity = psk_identity_bytes(credential.identity)
    text = printable(identity)
    return f"0x{identity.hex()}" if text is None or text.startswith("0x") else text


def to_csv(rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> bytes:
    """Rows as CSV in UTF-8 with a byte order mark, which spreadsheets need to see that it is."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in COLUMNS])
    return b"\xef\xbb\xbf" + out.getvalue().encode("utf-8", "replace")


def to_json(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as JSON."""
    shown = [{name: value for name, value in row.items() if value not in ("", [], False)} for row in rows]
    return json.dumps({"devices": shown}, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    text = ";".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if _FORMULA.match(text) else text
