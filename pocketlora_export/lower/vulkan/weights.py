"""4-bit matrices as ExecuTorch's Vulkan ops want them: two codes a byte along k, scales by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pocketlora_export.q4 import GROUP_SIZES, ZERO_CODE, Q4Spec, unpack


@dataclass(frozen=True)
class PackedRows:
    """Rows of a matrix [n, k], as `et_vk.linear_q4gsw` and its backward take them: as constants of the delegate.

    `codes` uint8 [n, k / 2]: column 2j in the low nibble of byte j, column 2j + 1 in the high one, value + 8.
    `scales` f32 [k / group, n]; `row_scales` f32 [n, k / group], the same for `et_vk.embedding_q4gsw`.
    """

    codes: Tensor
    scales: Tensor
    row_scales: Tensor
    group: int

    @property
    def rows(self) -> int:
        """n."""
        return self.codes.shape[0]


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix in parts of consecutive rows; one part unless a buffer would be beyond the device's limit."""

    parts: tuple[PackedRows, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """The first row of each part."""
        return tuple(sum(part.rows for part in self.parts[:index]) for index in range(len(self.parts)))


def scheme_problem(scheme: str, group_size: int) -> str | None:
    """Why the ops cannot do a 4-bit scheme."""
    if scheme != "int4":
        return f"{scheme} has uneven levels, and et_vk.linear_q4gsw knows even ones only: make the bundle with int4"
    if group_size not in GROUP_SIZES["int4"]:
        return f"expected groups of {', '.join(map(str, GROUP_SIZES['int4']))}"
    return None


def spec_problems(spec: Q4Spec) -> list[str]:
    """What the ops cannot do of a matrix, whatever the device."""
    reason = scheme_problem(spec.scheme, spec.group_size)
    problems = [] if reason is None else [reason]
    if spec.rows % 4:
        problems.append(f"{spec.rows} rows are no multiple of 4")
    if spec.cols % max(spec.group_size, 32):
        problems.append(f"{spec.cols} columns are no multiple of {max(spec.group_size, 32)}")
    return problems


def pack_matrix(codes: Tensor, scales: Tensor, group: int, part_rows: int) -> PackedMatrix:
    """Pack a matrix; every value stays the same.

    Args:
        codes: uint8 [n, k], value + 8, k a multiple of `group`.
        scales: floating point [n, k / group].
        group: columns that share a scale.
        part_rows: rows of a part at most.
    """
    pairs, scales = codes[:, 0::2] | (codes[:, 1::2] << 4), scales.float()
    cuts = range(0, codes.shape[0], part_rows)
    return PackedMatrix(tuple(_rows(pairs[i : i + part_rows], scales[i : i + part_rows], group) for i in cuts))


def _rows(pairs: Tensor, scales: Tensor, group: int) -> PackedRows:
    # Clones: the delegate stores a tensor's whole storage.
    return PackedRows(pairs.clone(), scales.T.clone(memory_format=torch.contiguous_format), scales.clone(), group)


class WeightSource(Protocol):
    """Where the constants of a stage come from, by the names of its weight inputs."""

    def matrix(self, name: str, spec: Q4Spec, part_rows: int) -> PackedMatrix:
        """A 4-bit matrix, packed."""

    def dense(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An fp32 tensor."""


class BlankWeights:
    """Zeros, where only shapes matter."""

    def matrix(self, name: str, spec: Q4Spec, part_rows: int) -> PackedMatrix:
        """See `WeightSource`."""
        del name
        codes = torch.full((spec.rows, spec.cols), ZERO_CODE["int4"], dtype=torch.uint8)
        return pack_matrix(codes, torch.zeros(spec.rows, spec.cols // spec.group_size), spec.group_size, part_rows)

    def dense(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """See `WeightSource`."""
        del name
        return torch.zeros(shape)


class StoredWeights:
    """Tensors of base.ptd, repacked value by value (docs/layout.md).

    Args:
        read: a tensor of the base by its name there: uint8 tiles, or fp32.
        names: input name -> name in the base.
    """

    def __init__(self, read: Callable[[str], Tensor], names: Mapping[str, str]) -> None:
        self._read, self._names = read, names

    def matrix(self, name: str, spec: Q4Spec, part_rows: int) -> PackedMatrix:
        """See `WeightSource`."""
        codes, scales = unpack(self._read(self._names[name]), spec)
        return pack_matrix(codes, scales, spec.group_size, part_rows)

    def dense(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """See `WeightSource`."""
        del shape
        return self._read(self._names[name])
