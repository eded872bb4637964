"""The programs that benchmarks put side by side: ours and the peers', each in a process of its own, same weights.

Peers that the project does not need are installed on demand, with pip, into build/peers. What cannot be installed or
run raises SystemExit with the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.isa import below, capped_environment
from benchmarks.random_gguf import write_gguf
from benchmarks.random_model import write_random_model
from benchmarks.results import REPOSITORY, Child, run_child
from benchmarks.workload import Workload

PEERS = REPOSITORY / "build" / "peers"
RANK = 16
Found = dict[str, Any]


def install(*packages: str) -> None:
    """Install peers beside the project's own environment; what is installed already stays."""
    PEERS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PEERS)]
    constraints = ["-c", str(REPOSITORY / "constraints.txt")]
    wanted = [name for name in packages if not (PEERS / name).exists()]
    if wanted and subprocess.run([*command, *constraints, *wanted], check=False).returncode:
        raise SystemExit(f"pip could not install {' '.join(wanted)}")


def _last_line(child: Child) -> Found:
    found: Found = json.loads(child.stdout.splitlines()[-1])
    return found


@dataclass(frozen=True)
class Contenders:
    """Random weights of one shape below `place`, in the form that each program reads; made when first needed.

    `timeout`: seconds for one run of a peer, loading included. `isa`: the cap of every run's instruction set. Every
    measurement returns its probe's JSON.
    """

    place: Path
    shape: str
    threads: int
    timeout: float
    isa: str = "native"

    @property
    def model(self) -> Path:
        """The Hugging Face folder."""
        path = self.place / "model"
        if not path.exists():
            write_random_model(path, self.shape)
        return path

    @property
    def bundle(self) -> Path:
        """Our bundle, NF4."""
        path = self.place / "bundle"
        if not path.exists():
            run_child("pocketlora_export", "bundle", "-m", self.model, "-o", path, "--quant", "nf4")
        return path

    @property
    def gguf(self) -> Path:
        """llama.cpp's file, Q4_0."""
        path = self.place / "model.q4_0.gguf"
        if not path.exists():
            write_gguf(self.model, path)
        return path

    def program(self) -> Path:
        """ExecuTorch's own export, 8da4w; minutes of work when it is not there."""
        path = self.place / "model.8da4w.pte"
        if not path.exists():
            run_child("benchmarks.executorch_export", self.model, path)
        return path

    def prepare(self) -> None:
        """Make what ours and llama.cpp read, so that no turn waits for it."""
        _ = self.bundle, self.gguf

    def train(self, rows: int, steps: int = 1, recompute: str = "full", compute: str = "fp32") -> Found:
        """Our training step."""
        options = ("--rows", rows, "--rank", RANK, "--steps", steps, "--threads", self.threads)
        return self._ours("benchmarks.train_probe", *options, "--recompute", recompute, "--compute", compute)

    def peft(self, base: str, rows: int, steps: int = 1) -> Found:
        """PEFT's, over a base of that kind."""
        options = ("--base", base, "--rows", rows, "--rank", RANK, "--steps", steps, "--threads", self.threads)
        if base == "bnb-nf4":
            if self.isa == "avx2" and below(self.isa):
                raise SystemExit("bitsandbytes dequantizes with all of AVX-512 that the CPU has: no cap to avx2")
            install("bitsandbytes", "accelerate")
        return self._peer("benchmarks.peft_probe", self.model, *options)

    def generate(self, prompt: int, compute: str = "auto") -> Found:
        """Our prompt and new tokens."""
        options = ("--threads", self.threads, "--prompt", prompt, "--compute", compute)
        found = self._ours("benchmarks.generate_probe", *options)
        return found | self._read_of(self.bundle / "base.ptd", self.work.stored)

    def llama_cpp(self, prompt: int) -> Found:
        """llama.cpp's, with the repacked weights that it makes while loading."""
        install("xllamacpp")
        options = ("--threads", self.threads, "--prompt", prompt, "--isa", self.isa)
        found = self._peer("benchmarks.llama_cpp_probe", self.gguf, *options)
        return found | self._read_of(self.gguf, self.work.stored)

    def executorch(self, prompt: int) -> Found:
        """Stock ExecuTorch's, 8-bit activations and 4-bit weights in XNNPACK."""
        if below(self.isa):
            raise SystemExit(f"XNNPACK takes all that the CPU has: there is no cap to {self.isa}")
        options = ("--threads", self.threads, "--prompt", prompt)
        found = self._peer("benchmarks.executorch_probe", self.program(), *options)
        # It stores the head, though tied, beside the embedding.
        return found | self._read_of(self.program(), self.work.linear + 2 * self.work.head)

    def transformers(self, dtype: str, prompt: int) -> Found:
        """transformers', in that dtype."""
        options = ("--dtype", dtype, "--threads", self.threads, "--prompt", prompt)
        found = self._peer("benchmarks.transformers_probe", self.model, *options)
        return found | {"token_bytes": (4 if dtype == "float32" else 2) * self.work.read}

    @property
    def work(self) -> Workload:
        """What the model's work comes to."""
        return Workload.of(json.loads((self.model / "config.json").read_text()), RANK)

    def _read_of(self, file: Path, stored: int) -> Found:
        """Bytes of a file of `stored` weights that a new token reads."""
        return {"token_bytes": file.stat().st_size * self.work.read / stored}

    def _ours(self, module: str, *options: object) -> Found:
        return _last_line(run_child(module, self.bundle, *options, environment=capped_environment(self.isa)))

    def _peer(self, module: str, *arguments: object) -> Found:
        environment = capped_environment(self.isa)
        child = run_child(module, *arguments, extra_path=PEERS, timeout=self.timeout, environment=environment)
        return _last_line(child)
