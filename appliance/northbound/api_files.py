"""Routes of the file store: firmware and other files that devices fetch or are sent.

Devices fetch them outside the API, by their links; see `downloads`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from appliance.northbound.body import check
from appliance.northbound.downloads import FILES
from appliance.northbound.neighbours import StoredFile
from appliance.northbound.routes import Answer, Query, Request, Routes, Upload
from appliance.northbound.schemas import COMPONENTS

routes = Routes()

ANY_TYPE: Final = "application/octet-stream"
_COAP_PORT: Final = 5683
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 128}


@routes.route(
    "GET", "/files", scope="read", summary="Every stored file, the newest first", answer="StoredFiles"
)
def list_files(request: Request) -> Answer:
    files = request.room.files
    addresses = _addresses(request)
    return Answer(
        {
            "files": [_row(one, addresses) for one in files.all()],
            "total_bytes": files.total_bytes,
            "max_total_bytes": files.max_total_bytes,
            "max_file_bytes": files.max_file_bytes,
        }
    )


@routes.route(
    "POST",
    "/files",
    scope="operate",
    summary="Store a file: the body is its content, of any type. The same content twice is one file",
    query=(
        Query("name", {"type": "string", "minLength": 1, "maxLength": 128}, "what to call it", required=True),
    ),
    upload=ANY_TYPE,
    streamed=True,
    answer="StoredFile",
    status=201,
)
def add_file(request: Request) -> Answer:
    upload: Upload = request.body
    with request.room.transfers.one(request.address):
        stored = request.room.files.add(upload.read, upload.length, request.query["name"], upload.media_type)
    return Answer(_row(stored, _addresses(request)), 201)


@routes.route("GET", "/files/{id}", scope="read", summary="One stored file", answer="StoredFile")
def get_file(request: Request) -> Answer:
    return Answer(_row(request.room.files.find(_id(request)), _addresses(request)))


@routes.route(
    "DELETE",
    "/files/{id}",
    scope="operate",
    summary="Remove a stored file; its link ends",
    status=204,
)
def remove_file(request: Request) -> Answer:
    request.room.files.remove(_id(request))
    return Answer(status=204)


def _id(request: Request) -> str:
    file_id = request.parameters["id"]
    check(file_id, {"type": "string", "minLength": 1, "maxLength": 64}, COMPONENTS)
    return file_id


def _addresses(request: Request) -> tuple[str, ...] | None:
    """What stands before a link in each of its URLs; None for who may not have them."""
    if request.principal is None or not request.principal.may("operate"):
        return None
    authority = request.headers.get("Host", "localhost")
    host = authority[: authority.rindex("]") + 1] if "]" in authority else authority.partition(":")[0]
    status = request.room.crossing.call(request.room.status)
    found = []
    for scheme, member in (("coap", "coap_port"), ("coap+tcp", "coap_tcp_port")):
        port = status.get(member)
        if port:
            found.append(f"{scheme}://{host}{'' if port == _COAP_PORT else f':{port}'}/f/")
    return (*found, f"{'https' if request.secure else 'http'}://{authority}{FILES}")


def _row(stored: StoredFile, addresses: tuple[str, ...] | None) -> dict[str, Any]:
    added_at = datetime.fromtimestamp(stored.added_at, UTC).isoformat(timespec="seconds")
    return {
        "id": stored.id,
        "name": stored.name,
        "size_bytes": stored.size_bytes,
        "type": stored.type,
        "added_at": added_at.removesuffix("+00:00") + "Z",
        "link": None if addresses is None else stored.link,
        "urls": [address + stored.link for address in addresses or ()],
        "damaged": stored.damaged or None,
    }
