"""What the expression of a policy lets through, as far as its text tells."""

import re
from typing import Final, Literal

Passes = Literal["nothing", "own", "any"]

_UID: Final = r"(?:\(\s*select\s+)?auth\.uid\(\)(?:\s+as\s+\w+)?\s*\)?"
_USER_ID: Final = r"(?:\w+\.)?user_id"
_OWN: Final = re.compile(rf"\(*\s*(?:{_USER_ID}\s*=\s*{_UID}|{_UID}\s*=\s*{_USER_ID})\s*\)*", re.IGNORECASE)
_NOTHING: Final = re.compile(r"\(*(?:false|null(?:::boolean)?)\)*", re.IGNORECASE)


def _split(expression: str, operator: str) -> list[str]:
    """The operands of an operator outside of parentheses and quotes; outer parentheses are taken off."""
    expression = expression.strip()
    parts, depth, start, wrapped = [], 0, 0, expression.startswith("(")
    for token in re.finditer(rf"'(?:[^']|'')*'|\"[^\"]*\"|[()]|\b{operator}\b", expression, re.IGNORECASE):
        match token[0]:
            case "(":
                depth += 1
            case ")":
                depth -= 1
                wrapped = wrapped and (depth > 0 or token.end() == len(expression))
            case text if depth == 0 and text[0] not in "'\"":
                parts.append(expression[start : token.start()])
                start, wrapped = token.end(), False
    return _split(expression[1:-1], operator) if wrapped else [*parts, expression[start:]]


def conjuncts(expression: str | None) -> frozenset[str]:
    """What has to hold at once; nothing for no expression."""
    if expression is None:
        return frozenset()
    found: set[str] = set()
    for part in _split(expression, "and"):
        found |= {part.strip()} if part.strip() == expression.strip() else conjuncts(part)
    return frozenset(re.sub(r"^\((.*)\)$", r"\1", part) for part in found)


def passes(expression: str | None) -> Passes:
    """Which rows an expression lets through: none, those of the caller at most, or perhaps others' too."""
    if expression is None:
        return "any"
    disjuncts = _split(expression, "or")
    if len(disjuncts) > 1:
        among = {passes(part) for part in disjuncts}
        return "any" if "any" in among else "own" if "own" in among else "nothing"
    parts = _split(expression, "and")
    if len(parts) > 1:
        among = {passes(part) for part in parts}
        return "nothing" if "nothing" in among else "own" if "own" in among else "any"
    if _NOTHING.fullmatch(expression.strip()):
        return "nothing"
    return "own" if _OWN.fullmatch(expression.strip()) else "any"
