"""Reads Terraform files as blocks and attributes. Expressions stay text: nothing is evaluated."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_WORD = re.compile(r"[A-Za-z_][\w-]*")
_SKIP = re.compile(r"(?:\s+|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_HEREDOC = re.compile(r"<<-?(\w+)\n(.*?)^[ \t]*\1$", re.DOTALL | re.MULTILINE)
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}


@dataclass
class Block:
    """One block: its type, its labels, its attributes as text and the blocks inside."""

    type: str
    labels: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def of(self, kind: str) -> list[Block]:
        """Return the blocks of one type directly inside."""
        return [block for block in self.blocks if block.type == kind]


def read(folder: Path) -> Block:
    """Read all Terraform files of a folder as one body."""
    body = Block("")
    for path in sorted(folder.glob("*.tf")):
        found = parse(path.read_text(encoding="utf-8"))
        body.blocks += found.blocks
        body.attributes |= found.attributes
    return body


def parse(text: str) -> Block:
    """Parse the text of one file."""
    body = Block("")
    end = _body(text, 0, body)
    assert end == len(text), f"cannot be read from here: {text[end : end + 60]!r}"
    return body


def text_of(expression: str) -> str:
    """Return what a quoted string or a heredoc says, without interpolation."""
    if heredoc := _HEREDOC.match(expression):
        return textwrap.dedent(heredoc[2]).strip("\n")
    return expression.strip('"').replace('\\"', '"').replace("\\\\", "\\")


def resources(body: Block) -> Iterator[Block]:
    """Yield each resource with `dynamic` blocks as the blocks that they make."""
    for block in body.of("resource"):
        yield _plain(block)


def _plain(block: Block) -> Block:
    inside = [_plain(Block(each.labels[0], (), each.of("content")[0].attributes, each.of("content")[0].blocks))
              if each.type == "dynamic" else _plain(each) for each in block.blocks]  # fmt: skip
    return Block(block.type, block.labels, block.attributes, inside)


def _body(text: str, at: int, block: Block) -> int:
    """Read attributes and blocks up to a closing brace or the end. Returns where that is."""
    while True:
        at = _skip(text, at)
        word = _WORD.match(text, at)
        if not word:
            return at
        at = _skip(text, word.end())
        if text[at] == "=":
            start = _skip(text, at + 1)
            at = _expression(text, start)
            block.attributes[word[0]] = text[start:at].strip()
            continue
        labels = []
        while text[at] != "{":
            end = _string(text, at) if text[at] == '"' else _WORD.match(text, at).end()  # type: ignore[union-attr]
            labels.append(text[at:end].strip('"'))
            at = _skip(text, end)
        inner = Block(word[0], tuple(labels))
        block.blocks.append(inner)
        at = _body(text, at + 1, inner)
        assert text[at] == "}", f"{word[0]} is not closed: {text[at : at + 60]!r}"
        at += 1


def _skip(text: str, at: int) -> int:
    found = _SKIP.match(text, at)
    return found.end() if found else at


def _expression(text: str, at: int) -> int:
    """Return the end of an expression: the end of its line, or of the brackets that it opens."""
    open_brackets: list[str] = []
    while at < len(text):
        here = text[at]
        if here == '"':
            at = _string(text, at)
        elif heredoc := _HEREDOC.match(text, at):
            at = heredoc.end()
        elif here == "#" or text.startswith("//", at):
            at = text.index("\n", at)
        elif here in _CLOSED_BY:
            open_brackets.append(_CLOSED_BY[here])
            at += 1
        elif open_brackets and here == open_brackets[-1]:
            open_brackets.pop()
            at += 1
        elif not open_brackets and here in "\n}":
            return at
        else:
            at += 1
    return at


def _string(text: str, at: int) -> int:
    """Return the end of a quoted string. Interpolations may hold strings of their own."""
    at += 1
    while text[at] != '"':
        if text[at] == "\\":
            at += 2
        elif text.startswith(("$${", "%%{"), at):
            at += 3
        elif text.startswith(("${", "%{"), at):
            at += 2
            depth = 1
            while depth:
                if text[at] == '"':
                    at = _string(text, at)
                    continue
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
        else:
            at += 1
    return at + 1
