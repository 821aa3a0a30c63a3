"""JSON as it is written to rows: without white space, and without making an encoder for every value."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

encode_name = json.encoder.encode_basestring_ascii
decode_json = json.JSONDecoder().decode


def _json_encoder() -> Callable[[Any], str]:
    """`json.JSONEncoder.encode` without white space, which makes a new C encoder for every call.

    That is half of its time, so where CPython has that encoder, one is kept.
    """
    encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    chunks = make(None, encoder.default, encode_name, None, ":", ",", False, False, True)
    return lambda value: "".join(chunks(value, 0))


encode_json = _json_encoder()
