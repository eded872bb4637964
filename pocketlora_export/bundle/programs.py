"""The real inputs and outputs of a .pte file, and how they differ from the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.exir.scalar_type import ScalarType
from executorch.exir.schema import Tensor as PteTensor
from executorch.exir.tensor import TensorShapeDynamism

from pocketlora_export.bundle.manifest import Input, Manifest, Output, Program

_DTYPES = {ScalarType.FLOAT: "float32", ScalarType.LONG: "int64", ScalarType.BYTE: "uint8"}


@dataclass(frozen=True)
class Port:
    """An input or output as the program has it: sizes are upper bounds where `dynamic`."""

    dtype: str
    sizes: tuple[int, ...]
    dynamic: bool


def _port(value: Any) -> Port | None:
    tensor = value.val
    if not isinstance(tensor, PteTensor):
        return None
    dynamic = tensor.shape_dynamism != TensorShapeDynamism.STATIC
    return Port(_DTYPES.get(tensor.scalar_type, tensor.scalar_type.name.lower()), tuple(tensor.sizes), dynamic)


def read_methods(path: Path) -> dict[str, tuple[list[Port | None], list[Port | None]]]:
    """method -> (inputs, outputs) of a .pte; None stands for a value that is not a tensor.

    Raises:
        ValueError: when the file is not a program.
    """
    try:
        program = deserialize_pte_binary(path.read_bytes()).program
    except Exception as error:
        raise ValueError(f"not an ExecuTorch program ({type(error).__name__}: {str(error).splitlines()[0]})") from error
    return {
        plan.name: ([_port(plan.values[i]) for i in plan.inputs], [_port(plan.values[i]) for i in plan.outputs])
        for plan in program.execution_plan
    }


def _bounds(manifest: Manifest) -> dict[str, int]:
    """What each dynamic dimension but N must reach."""
    limits, model = manifest.limits, manifest.model
    row_bytes = 4 * model.num_kv_heads * model.head_dim  # fp32, the largest format of the KV cache
    return {"S1": limits.max_segments + 1, "C": limits.max_seq_len, "K": row_bytes, "R": limits.max_rank}


def _shape_fits(port: Port, shape: list[int | str], bounds: Mapping[str, int]) -> bool:
    """Fixed dimensions must be equal; a dynamic one must reach its bound and be dynamic in the program."""
    if len(port.sizes) != len(shape):
        return False
    if any(isinstance(dim, str) for dim in shape) and not port.dynamic:
        return False
    pairs = zip(port.sizes, shape, strict=True)
    return all(size >= bounds[dim] if isinstance(dim, str) else size == dim for size, dim in pairs)


def _compare(
    where: str, ports: list[Port | None], specs: Sequence[Input | Output], bounds: Mapping[str, int]
) -> list[str]:
    if len(ports) != len(specs):
        return [f"{where}: the manifest lists {len(specs)}, the program has {len(ports)}"]
    problems = []
    for port, spec in zip(ports, specs, strict=True):
        if port is None or port.dtype != spec.dtype or not _shape_fits(port, list(spec.shape), bounds):
            found = "not a tensor" if port is None else f"{port.dtype}{list(port.sizes)}"
            problems.append(f"{where} {spec.name}: the manifest says {spec.dtype}{spec.shape}, the program {found}")
    return problems


def program_problems(path: Path, program: Program, manifest: Manifest) -> list[str]:
    """Every difference between a .pte file and its manifest entry: methods, counts, dtypes, shapes."""
    try:
        methods = read_methods(path)
    except ValueError as error:
        return [f"{path}: {error}"]
    problems = [
        f"{path}: method {name} is not in the manifest"
        for name in sorted(set(methods) - {m.name for m in program.methods})
    ]
    for method in program.methods:
        if method.name not in methods:
            problems.append(f"{path}: method {method.name} is missing")
            continue
        inputs, outputs = methods[method.name]
        bounds = {**_bounds(manifest), "N": method.t_max}
        problems += _compare(f"{path}: {method.name}: input", inputs, method.inputs, bounds)
        problems += _compare(f"{path}: {method.name}: output", outputs, method.outputs, bounds)
    return problems
