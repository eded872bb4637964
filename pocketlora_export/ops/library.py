"""Registration of the custom ops: one schema gives the functional op and the out variant that ExecuTorch calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

NAMESPACE = "pocketlora"
_library = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]

Reference = Callable[..., Any]
_references: dict[str, Reference] = {}


class Op(Protocol):
    """A callable op of one or several outputs; torch types them as Any."""

    def __call__(self, *args: Any) -> Any:
        """Run the op."""


def _out_schema(name: str, args: str, returns: int) -> str:
    """`f(args) -> Tensor` becomes `f.out(args, *, Tensor(a!) out) -> Tensor(a!)`; several outputs are out0, out1."""
    marks = [chr(ord("a") + i) for i in range(returns)]
    names = ["out"] if returns == 1 else [f"out{i}" for i in range(returns)]
    outs = ", ".join(f"Tensor({m}!) {n}" for m, n in zip(marks, names, strict=True))
    result = ", ".join(f"Tensor({m}!)" for m in marks)
    result = result if returns == 1 else f"({result})"
    return f"{name}.out({args}, *, {outs}) -> {result}"


def _write_outputs(results: tuple[Tensor, ...], outs: tuple[Tensor, ...]) -> None:
    for result, out in zip(results, outs, strict=True):
        out.resize_(result.shape).copy_(result)


def _out_reference(reference: Reference) -> Reference:
    def run(*args: Any, **outs: Tensor) -> Any:
        results = reference(*args)
        many = isinstance(results, tuple)
        _write_outputs(results if many else (results,), tuple(outs.values()))
        return tuple(outs.values()) if many else next(iter(outs.values()))

    return run


def define(name: str, args: str, *, returns: int, reference: Reference, fake: Reference) -> Op:
    """Register one op with its PyTorch reference and its fake (shape) implementation.

    Args:
        name: op name without namespace.
        args: schema of the arguments, as in docs/stages.md.
        returns: number of output tensors.
        reference: eager implementation, the definition of the op.
        fake: returns empty tensors of the outputs' shapes.
    """
    _references[name] = reference
    result = "Tensor" if returns == 1 else "(" + ", ".join(["Tensor"] * returns) + ")"
    _library.define(f"{name}({args}) -> {result}")  # type: ignore[no-untyped-call]
    _library.define(_out_schema(name, args, returns))  # type: ignore[no-untyped-call]
    _library.impl(name, reference, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _library.impl(f"{name}.out", _out_reference(reference), "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_library)
    overload: Op = getattr(getattr(torch.ops, NAMESPACE), name).default
    return overload


def autograd(name: str, backward: Callable[..., Any], setup_context: Callable[..., None]) -> None:
    """Register the autograd formula of an op defined here."""
    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=setup_context, lib=_library)


def reference(name: str) -> Reference:
    """The eager implementation that defines an op; `name` has no namespace."""
    return _references[name]
