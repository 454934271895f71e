"""JSON as RFC 8259 recommends it, of which every reader makes the same: no name twice in an object, no NaN."""

import json
from typing import Never


def loads(text: bytes) -> object:
    """Parse `text`.

    Raises:
        json.JSONDecodeError, UnicodeDecodeError: both are a ValueError.
        RecursionError: nested too deep.
    """
    # given bytes, json would take UTF-16 and UTF-32 as well
    return json.loads(text.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_refuse)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) < len(pairs):
        _refuse()
    return names


def _refuse(_constant: str = "") -> Never:
    raise json.JSONDecodeError("Not strict JSON", "", 0)
