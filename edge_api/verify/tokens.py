"""The words of SQL and PL/pgSQL, nested by their brackets."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Final

_SIGN: Final = r"(?!--|/\*)[-+*/<>=~!@\#%^&|`?]"
_TYPE: Final = r'(?!"?(?:char|character|bpchar|bit)\b)(?:"[^"]+"|[\w$]+(?![\w$]))'
# The last group that matched says what a token is. A cast that cuts nothing off is left out, as a comment is.
_TOKEN: Final = re.compile(
    rf"""\s*(?:
      (?P<word>(?!(?:[benx]|u&)'|u&")[^\W\d][\w$]*)
    | (?P<left_out>--[^\n]*|::\s*{_TYPE}(?:\s*\.\s*{_TYPE})*(?!\s*[(.])(?:\s*\[\d*\])*)
    | (?P<comment>/\*)
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<dollar>.*?)\$(?P=tag)\$
    | e'(?P<escaped>(?:[^'\\]|\\.|'')*)'
    | (?:u&|b|x|n)?'(?P<text>(?:[^']|'')*)'
    | (?P<unicode>u&)?"(?P<name>(?:[^"]|"")*)"(?:\s*uescape\s*'(?P<escape>.)')?
    | (?P<other>::|:=|\.\.|\$\d+|\d+(?:\.\d+)?\w*
        # an operator ends in + or - only if it has one of these in it
        |(?:{_SIGN})*(?:[~!@\#%^&|`?](?:{_SIGN})*|(?!/\*)[*/<>=])|\S))""",
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
_CLOSING: Final = {"(": ")", "[": "]", "case": "end"}


class Group(list["Token"]):
    """What stands in brackets, or between case and end."""

    def __init__(self, kind: str, tokens: Iterable["Token"] = ()) -> None:
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
            case "word":
                yield found["word"].lower()
            case "other":
                yield found["other"]
            case "left_out":
                pass
            case "comment":
                depth = 1
                while depth and (edge := _EDGE.search(text, position)):
                    position, depth = edge.end(), depth + (1 if edge[0] == "/*" else -1)
                position = len(text) if depth else position
            case "name" | "escape":
                name = found["name"].replace('""', '"')
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
        top = stack[-1]
        if word in _CLOSING and (word != "case" or top[-1:] != ["end"]):
            stack.append(Group(word))
        elif word == _CLOSING.get(top.kind):
            stack[-2].append(stack.pop())
        else:
            top.append(word)
    while len(stack) > 1:
        stack[-2].append(stack.pop())
    return stack[0]


def split(tokens: Tokens, words: Collection[str]) -> list[list[Token]]:
    """The parts between some words, outside of brackets."""
    parts: list[list[Token]] = [[]]
    for word in tokens:
        if word in words:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def is_name(word: Token) -> bool:
    """Whether it is one, and not a word of SQL."""
    return isinstance(word, str) and (word[:1].isalpha() or word[:1] in {"_", '"'}) and word not in WORDS


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
