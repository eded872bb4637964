"""Types of option values, and a command that complains of all bad options at once."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any, ClassVar

import click
from click.core import iter_params_for_processing
from click.types import StringParamType
from typing_extensions import override


class FiniteFloatRange(click.FloatRange):
    """A number in a range that the runtime's float32 can hold: no NaN, no infinity, nothing beyond 3.4e38."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; a usage error that names the option otherwise."""
        number = click.FLOAT.convert(value, param, ctx)
        if not _fits_float32(number):
            self.fail(f"expected a finite number, found {value}.", param, ctx)
        return super().convert(number, param, ctx)


def _fits_float32(number: float) -> bool:
    try:
        packed = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return False
    # NaN and the infinities are the numbers whose difference to themselves is not zero.
    return bool(packed - packed == 0)


class Text(StringParamType):
    """A string that is UTF-8. Bytes of the command line that are not arrive as lone surrogates."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The string; a usage error that names the option and the character otherwise."""
        text = str(super().convert(value, param, ctx))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.fail(f"expected UTF-8 text, found another byte at character {error.start + 1}.", param, ctx)
        return text


TEXT = Text()


class StopString(Text):
    """A text that is not empty."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The string; a usage error that names the option otherwise."""
        text = super().convert(value, param, ctx)
        if not text:
            self.fail("expected some text, found an empty one.", param, ctx)
        return text


class Size(click.ParamType[int]):
    """A number of bytes above 0: 800000000, 800MB, 1.5GB, 512MiB."""

    name = "size"
    _UNITS: ClassVar = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes; a usage error that names the option otherwise."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
        unit = None if match is None else self._UNITS.get(match[2])
        if match is None or unit is None or not 1 <= float(match[1]) * unit < 2**63:
            self.fail(f"expected a size such as 800MB, 1.5GB or a number of bytes, found {value}.", param, ctx)
        return int(float(match[1]) * unit)


SIZE = Size()


class OptionsCommand(click.Command):
    """A command whose options are all checked before it complains of any."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; when a value is bad or missing, look for the others that are."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            problems = self._problems(ctx, given)
            if len(problems) < 2:
                raise
            raise click.UsageError("\n".join(problems), ctx) from error

    def _problems(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(args=args)
        params = iter_params_for_processing(order, self.get_params(ctx))
        return [problem for param in params if (problem := _problem(param, ctx, values)) is not None]


def _problem(param: click.Parameter, ctx: click.Context, values: dict[str, Any]) -> str | None:
    try:
        param.handle_parse_result(ctx, values, [])
    except click.BadParameter as error:
        return error.format_message()
    return None


class KeyValues(click.ParamType[dict[str, str]]):
    """KEY=NAME,KEY=NAME with keys out of a list."""

    name = "key=name"

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        """The pairs; a usage error that names the option otherwise."""
        if isinstance(value, dict):
            return value
        found: dict[str, str] = {}
        for pair in TEXT.convert(value, param, ctx).split(","):
            key, separator, name = (part.strip() for part in pair.partition("="))
            if not separator or not name or key not in self._keys:
                self.fail(f"expected KEY=NAME with KEY one of {', '.join(self._keys)}, found {pair}.", param, ctx)
            found[key] = name
        return found
