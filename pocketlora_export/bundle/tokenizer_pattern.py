"""Patterns of pre-tokenizers, in the part of Oniguruma's syntax that they use, as programs of a small matcher.

What is not in that part is refused by name: a program either matches what Oniguruma matches or is not made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from pocketlora_export.bundle.tokenizer_characters import Characters, CharacterSets, named, none, one
from pocketlora_export.errors import PocketLoraError, Status

UNBOUNDED = 0xFFFFFFFF

_ESCAPES = {"r": 0x0D, "n": 0x0A, "t": 0x09, "f": 0x0C, "v": 0x0B, "a": 0x07, "e": 0x1B}
_SETS = {"s": "space", "d": "Nd"}
_QUANTIFIERS = {"?": (0, 1), "*": (0, UNBOUNDED), "+": (1, UNBOUNDED)}
_INTERVAL = re.compile(r"\{(\d*)(,?)(\d*)\}")


@lru_cache(maxsize=1)
def _folded() -> tuple[str, ...]:
    """What folding of case makes of one character, where that is several: Oniguruma matches it in both directions."""
    folded = (chr(c).casefold() for c in range(0x10000))
    return tuple(sorted({text for text in folded if len(text) > 1}))


class Op(IntEnum):
    """Operations of the matcher (docs/tokenizer.md)."""

    ACCEPT = 0
    CHARS = 1
    CHARS_POSSESSIVE = 2
    SPLIT = 3
    JUMP = 4
    LOOK = 5
    LOOK_NOT = 6


@dataclass
class Instruction:
    """One step; `target` counts from the program's first instruction, `characters` is the number of a set."""

    op: Op
    target: int = 0
    minimum: int = 0
    maximum: int = 0
    characters: int | None = None


@dataclass(frozen=True)
class _Chars:
    characters: int
    minimum: int = 1
    maximum: int = 1
    possessive: bool = False


@dataclass(frozen=True)
class _Group:
    branches: tuple[tuple[_Node, ...], ...]
    optional: bool = False


@dataclass(frozen=True)
class _Look:
    branches: tuple[tuple[_Node, ...], ...]
    negative: bool


_Node = _Chars | _Group | _Look


def _shortest(branches: tuple[tuple[_Node, ...], ...]) -> int:
    return min(sum(_shortest_node(node) for node in branch) for branch in branches)


def _shortest_node(node: _Node) -> int:
    if isinstance(node, _Chars):
        return node.minimum
    return 0 if isinstance(node, _Look) or node.optional else _shortest(node.branches)


class _Parser:
    def __init__(self, pattern: str, sets: CharacterSets) -> None:
        self._pattern, self._at, self._sets = pattern, 0, sets
        self._ignores_case = False

    def parse(self) -> tuple[tuple[_Node, ...], ...]:
        branches = self._branches()
        if self._at < len(self._pattern):
            raise self._unsupported(f"an unmatched {self._pattern[self._at]!r}")
        if _shortest(branches) == 0:
            raise self._unsupported("that it can match nothing")
        return branches

    def _unsupported(self, what: str) -> PocketLoraError:
        return PocketLoraError(Status.INPUT_UNSUPPORTED, f"pattern {self._pattern!r}: {what} is not supported")

    def _peek(self, text: str) -> bool:
        return self._pattern.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        found = self._peek(text)
        self._at += len(text) if found else 0
        return found

    def _next(self) -> str:
        if self._at >= len(self._pattern):
            raise self._unsupported("that it ends early")
        self._at += 1
        return self._pattern[self._at - 1]

    def _branches(self) -> tuple[tuple[_Node, ...], ...]:
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        return tuple(branches)

    def _branch(self) -> tuple[_Node, ...]:
        nodes: list[_Node] = []
        literal = ""
        while self._at < len(self._pattern) and not (self._peek("|") or self._peek(")")):
            begin = self._at
            node = self._atom()
            text = self._pattern[begin : self._at]
            literal = literal + text.lower() if len(text) == 1 else ""
            if self._ignores_case and literal.endswith(_folded()):
                raise self._unsupported(f"{literal!r} with case ignored")
            nodes.append(self._quantified(node))
        return tuple(nodes)

    def _atom(self) -> _Node:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return _Chars(self._sets.add(self._class()))
        if character == "\\":
            return _Chars(self._sets.add(self._escape()))
        if character in ".^$*+?{":
            raise self._unsupported(repr(character))
        return _Chars(self._sets.add(self._literal(character)))

    def _literal(self, character: str) -> Characters:
        found = one(ord(character))
        if not self._ignores_case or not character.isalpha():
            return found
        if not character.isascii():
            raise self._unsupported(f"{character!r} with case ignored")
        folded = character.casefold()
        for other in (c for c in range(0x3000) if chr(c).casefold() == folded):
            found[other] = True
        return found

    def _group(self) -> _Node:
        for opening, negative in (("?!", True), ("?=", False)):
            if self._take(opening):
                return _Look(self._closed(), negative)
        ignored = self._ignores_case
        if self._take("?i:"):
            self._ignores_case = True
        elif not self._take("?:") and self._peek("?"):
            raise self._unsupported(repr(self._pattern[self._at - 1 : self._at + 3]))
        branches = self._closed()
        self._ignores_case = ignored
        return _Group(branches)

    def _closed(self) -> tuple[tuple[_Node, ...], ...]:
        branches = self._branches()
        if not self._take(")"):
            raise self._unsupported("a group without an end")
        return branches

    def _escape(self) -> Characters:
        character = self._next()
        if character in "pP":
            return self._property(negated=character == "P")
        if character.lower() in _SETS:
            found = named(_SETS[character.lower()])
            assert found is not None
            return ~found if character.isupper() else found
        if character in _ESCAPES:
            return one(_ESCAPES[character])
        if character.isascii() and not character.isalnum():
            return one(ord(character))
        raise self._unsupported(repr("\\" + character))

    def _property(self, *, negated: bool) -> Characters:
        match = re.compile(r"\{(\^?)(\w+)\}").match(self._pattern, self._at)
        found = named(match[2]) if match and match[2][:1].isupper() else None
        if match is None or found is None:
            raise self._unsupported(repr(self._pattern[self._at - 2 : match.end() if match else self._at + 3]))
        self._at = match.end()
        return ~found if negated != bool(match[1]) else found

    def _class(self) -> Characters:
        negated, found, first = self._take("^"), none(), True
        while first or not self._peek("]"):
            first = False
            if self._peek("[") or self._peek("&&"):
                raise self._unsupported("a class inside of a class")
            found = found | self._class_item()
        self._at += 1
        if self._ignores_case:
            raise self._unsupported("a class with case ignored")
        return ~found if negated else found

    def _class_item(self) -> Characters:
        begin = self._class_character()
        is_range = self._peek("-") and not self._peek("-]")
        if not is_range:
            return begin
        self._at += 1
        end = self._class_character()
        if begin.sum() != 1 or end.sum() != 1 or begin.argmax() > end.argmax():
            raise self._unsupported("a range whose ends are not characters in order")
        found = none()
        found[int(begin.argmax()) : int(end.argmax()) + 1] = True
        return found

    def _class_character(self) -> Characters:
        character = self._next()
        return self._escape() if character == "\\" else one(ord(character))

    def _quantified(self, node: _Node) -> _Node:
        interval = _INTERVAL.match(self._pattern, self._at)
        sign = self._pattern[self._at : self._at + 1]
        if interval is None and sign not in _QUANTIFIERS:
            return node
        if interval is not None:
            low, comma, high = interval.groups()
            if not low and not high:
                raise self._unsupported(repr(interval[0]))
            minimum = int(low or 0)
            maximum = int(high) if high else UNBOUNDED if comma else minimum
            self._at = interval.end()
        else:
            minimum, maximum = _QUANTIFIERS[sign]
            self._at += 1
        possessive = interval is None and self._take("+")
        if sign == "{" and (minimum > maximum or maximum == 0):
            raise self._unsupported("an interval that is empty")
        if any(self._peek(more) for more in "?*+") or _INTERVAL.match(self._pattern, self._at):
            raise self._unsupported("a quantifier behind a quantifier")
        return self._repeated(node, minimum, maximum, possessive=possessive)

    def _repeated(self, node: _Node, minimum: int, maximum: int, *, possessive: bool) -> _Node:
        if isinstance(node, _Chars):
            return _Chars(node.characters, minimum, maximum, possessive)
        if isinstance(node, _Look) or possessive or (minimum, maximum) != (0, 1) or _shortest(node.branches) == 0:
            raise self._unsupported("a group with a quantifier other than '?'")
        return _Group(node.branches, optional=True)


class _Compiler:
    def __init__(self, sets: CharacterSets) -> None:
        self._sets = sets
        self.code: list[Instruction] = []

    def compile(self, branches: tuple[tuple[_Node, ...], ...]) -> None:
        self._branches(branches)
        self.code.append(Instruction(Op.ACCEPT))

    def _branches(self, branches: tuple[tuple[_Node, ...], ...]) -> None:
        jumps = []
        for branch in branches[:-1]:
            split = self._split(branch)
            for node in branch:
                self._node(node)
            jumps.append(Instruction(Op.JUMP))
            self.code.append(jumps[-1])
            split.target = len(self.code)
        for node in branches[-1]:
            self._node(node)
        for jump in jumps:
            jump.target = len(self.code)

    def _split(self, branch: tuple[_Node, ...]) -> Instruction:
        first, may_be_empty = self._first(branch)
        split = Instruction(Op.SPLIT, minimum=int(may_be_empty), maximum=1, characters=first)
        self.code.append(split)
        return split

    def _node(self, node: _Node) -> None:
        if isinstance(node, _Chars):
            op = Op.CHARS_POSSESSIVE if node.possessive else Op.CHARS
            self.code.append(Instruction(op, minimum=node.minimum, maximum=node.maximum, characters=node.characters))
        elif isinstance(node, _Look):
            look = Instruction(Op.LOOK_NOT if node.negative else Op.LOOK)
            self.code.append(look)
            self._branches(node.branches)
            self.code.append(Instruction(Op.ACCEPT))
            look.target = len(self.code)
        elif node.optional:
            split = self._split((_Group(node.branches),))
            self._branches(node.branches)
            split.target = len(self.code)
        else:
            self._branches(node.branches)

    def _first(self, branch: tuple[_Node, ...]) -> tuple[int, bool]:
        """The characters that a branch can begin with, and whether it may begin with none of them."""
        sets: list[int] = []
        for node in branch:
            if isinstance(node, _Look):
                return self._sets.everything(), True
            if isinstance(node, _Chars):
                sets.append(node.characters)
                goes_on = node.minimum == 0
            else:
                inner = [self._first(inner) for inner in node.branches]
                sets += [first for first, _ in inner]
                goes_on = node.optional or any(may_be_empty for _, may_be_empty in inner)
            if not goes_on:
                return self._sets.union(sets), False
        return self._sets.everything(), True


def compile_pattern(pattern: str, sets: CharacterSets) -> list[Instruction]:
    """A regular expression as a program.

    Raises:
        PocketLoraError: INPUT_UNSUPPORTED names what the matcher does not know.
    """
    compiler = _Compiler(sets)
    compiler.compile(_Parser(pattern, sets).parse())
    return compiler.code


def compile_literal(text: str, sets: CharacterSets) -> list[Instruction]:
    """A program that matches a text, which is not empty."""
    return compile_set([one(ord(c)) for c in text], sets)


def compile_set(characters: list[Characters], sets: CharacterSets) -> list[Instruction]:
    """A program that matches one character of each of the sets, one after the other."""
    code = [Instruction(Op.CHARS, minimum=1, maximum=1, characters=sets.add(c)) for c in characters]
    return [*code, Instruction(Op.ACCEPT)]
