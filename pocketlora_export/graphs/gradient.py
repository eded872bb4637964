"""From a forward stage to its backward stage: recompute the forward, then autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pocketlora_export.graphs.stage import InputSpec, OutputSpec, Stage, Tensors, runtime_input


def _is_trained(spec: InputSpec) -> bool:
    return spec.source == "adapter" and not spec.name.endswith(".lora_scale")


def _backward_function(forward: Stage, wanted: tuple[str, ...]) -> Callable[[Tensors], tuple[Tensor, ...]]:
    def run(inputs: Tensors) -> tuple[Tensor, ...]:
        leaves = {name: inputs[name].detach().requires_grad_() for name in wanted}
        (output,) = forward.function({**inputs, **leaves})
        return torch.autograd.grad(output, list(leaves.values()), inputs[f"grad_{forward.outputs[0].name}"])

    return run


def backward_stage(forward: Stage, name: str, activation: str) -> Stage:
    """The backward of a stage with one output, with respect to `activation` and every LoRA tensor.

    Args:
        forward: the stage to differentiate.
        name: name of the new stage.
        activation: the runtime input whose gradient is the first output, `grad_<activation>`.
    """
    (output,) = forward.outputs
    trained = tuple(spec for spec in forward.inputs if _is_trained(spec))
    (source,) = (spec for spec in forward.inputs if spec.name == activation)
    grads = [OutputSpec(f"grad_{activation}", source.dtype, source.shape)]
    grads += [OutputSpec(f"{spec.name}.grad", spec.dtype, spec.shape) for spec in trained]
    first, *rest = forward.inputs
    inputs = (first, runtime_input(f"grad_{output.name}", output.shape, output.dtype), *rest)
    wanted = (activation, *(spec.name for spec in trained))
    return Stage(name, inputs, tuple(grads), _backward_function(forward, wanted))
