"""The peer's inference: stock ExecuTorch, a program of executorch_export run with the wheel's own runtime, greedily.

Only the program's calls are timed: choosing the token in Python is not.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.proc_status import process_memory


def _load(program: Path, threads: int) -> Any:
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

    # These register the operators that the export uses, with the library that portable_lib has loaded.
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  # isort: skip
    from executorch.kernels import quantized  # noqa: F401  # isort: skip
    from executorch.runtime import Runtime

    _unsafe_reset_threadpool(threads)
    return Runtime.get().load_program(program).load_method("forward")


def probe(program: Path, prompt: int, new_tokens: int, threads: int) -> dict[str, Any]:
    """Seconds of the prompt and a new token, and memory with the idle method and after generating."""
    import torch

    method = _load(program, threads)
    idle = process_memory()

    def run(tokens: list[int], position: int) -> tuple[float, int]:
        inputs = [torch.tensor([tokens]), torch.tensor([position])]
        start = time.perf_counter()
        logits = method.execute(inputs)[0]
        return time.perf_counter() - start, int(logits.argmax())

    run([3], 0)
    prefill, token = run(list(range(3, 3 + prompt)), 0)
    seconds = 0.0
    for position in range(prompt, prompt + new_tokens):
        took, token = run([token], position)
        seconds += took
    return {"seconds": seconds / new_tokens, "prefill": prefill, "idle": idle, "memory": process_memory()}


@click.command(help=__doc__)
@click.argument("program", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--prompt", default=128, show_default=True)
@click.option("--new-tokens", default=16, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(program: Path, prompt: int, new_tokens: int, threads: int) -> None:
    """Command line of this file."""
    click.echo(json.dumps(probe(program, prompt, new_tokens, threads)))


if __name__ == "__main__":
    main()
