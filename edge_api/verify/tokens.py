"""The words of SQL and PL/pgSQL, nested by their brackets."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final, Literal

# The last group that matched says what a token is. A cast says nothing of a value, and goes with the spaces.
_TOKEN: Final = re.compile(
    r"""(?P<name>[^\W\d][\w$]*)(?!\w|['"&])
    | (?P<space>\s+|--[^\n]*|::\s*(?:"[^"]+"|[\w$]+)(?:\s*\.\s*(?:"[^"]+"|[\w$]+))*(?:\s*\([\d, ]+\))?(?:\s*\[\d*\])*)
    | (?P<comment>/\*)
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<dollar>.*?)\$(?P=tag)\$
    | e'(?P<escaped>(?:[^'\\]|\\.|'')*)'
    | (?:u&|b|x|n)?'(?P<text>(?:[^']|'')*)'
    | (?P<unicode>u&)?"(?P<quoted>(?:[^"]|"")*)"(?:\s*uescape\s*'(?P<escape>.)')?
    | (?P<word>[^\W\d][\w$]*)
    # an operator ends in + or - only if it has one of the others in it
    | (?P<other>::|:=|\.\.|\$\d+|\d+(?:\.\d+)?\w*
        |(?:(?!--|/\*)[-+*/<>=~!@\#%^&|`?])*(?:[~!@\#%^&|`?](?:(?!--|/\*)[-+*/<>=~!@\#%^&|`?])*|(?!/\*)[*/<>=])|.)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_EDGE: Final = re.compile(r"/\*|\*/")
_SIMPLE: Final = re.compile(r"[a-z_][a-z0-9_$]*")
# Quoted, these are names.
WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """select perform from where group having window order limit offset fetch returning set values for into on using
        join left right full inner outer cross natural lateral only as union intersect except with and or not in is case
        end then else when loop begin insert update delete merge truncate table copy do all distinct exists array any
        tablesample return query if elsif execute strict null true false between""",
    )
)
_CLOSING: Final = {"(": ")", "[": "]"}


class Group(list["Token"]):
    """What stands in brackets, or between case and end."""

    def __init__(self, kind: Literal["(", "[", "case", ""], tokens: Iterable["Token"] = ()) -> None:
        super().__init__(tokens)
        self.kind = kind

    def __hash__(self) -> int:  # type: ignore[override]  # so that it can be looked for among words
        return id(self)


# A name in lower case or as it is quoted; a text with its first quotation mark; an operator.
Token = str | Group
Tokens = Sequence[Token]


def _words(text: str) -> Iterator[str]:
    position = 0
    while found := _TOKEN.match(text, position):
        position = found.end()
        match found.lastgroup:
            case "name" | "word" | "other":
                yield found[0].lower()
            case "space":
                pass
            case "comment":
                depth = 1
                while depth and (edge := _EDGE.search(text, position)):
                    position, depth = edge.end(), depth + (1 if edge[0] == "/*" else -1)
                position = len(text) if depth else position
            case "quoted" | "escape":
                name = found["quoted"].replace('""', '"')
                if found["unicode"]:
                    code = re.escape(found["escape"] or "\\") + r"(?:\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4}))"
                    name = re.sub(code, lambda each: chr(int(each[1] or each[2], 16)), name)
                yield name if _SIMPLE.fullmatch(name) and name not in WORDS else f'"{name}"'
            case kind:
                said = found[kind or "text"]
                yield "'" + (said if kind == "dollar" else said.replace("''", "'").replace("\\'", "'"))


@cache
def parse(text: str) -> Group:
    """The tokens of a text."""
    stack = [Group("")]
    for word in _words(text):
        while word == ";" and stack[-1].kind == "case":  # the statement, which has others in it
            stack[-2].extend(["case", *stack.pop()])
        if word in _CLOSING:
            stack.append(Group("(" if word == "(" else "["))
        elif word == "case" and stack[-1][-1:] != ["end"]:
            stack.append(Group("case"))
        elif len(stack) > 1 and word == ("end" if stack[-1].kind == "case" else _CLOSING.get(stack[-1].kind)):
            group = stack.pop()
            stack[-1].append(group)
        else:
            stack[-1].append(word)
    while len(stack) > 1:
        group = stack.pop()
        stack[-1].append(group)
    return stack[0]


def split(tokens: Tokens, words: Iterable[str]) -> list[list[Token]]:
    """The parts between some words, outside of brackets."""
    parts: list[list[Token]] = [[]]
    for word in tokens:
        if isinstance(word, str) and word in words:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def is_name(word: Token) -> bool:
    """Whether it is one, and not a word of SQL."""
    return isinstance(word, str) and bool(re.match(r'[^\W\d]|"', word)) and word not in WORDS


def flat(tokens: Tokens) -> Iterator[str]:
    """All words in them, those in brackets too."""
    for word in tokens:
        if isinstance(word, Group):
            yield from flat(word)
        else:
            yield word


def groups(tokens: Tokens) -> Iterator[Group]:
    """All that stands in brackets, at any depth."""
    for word in tokens:
        if isinstance(word, Group):
            yield word
            yield from groups(word)
