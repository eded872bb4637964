"""The most that this machine does, measured: fp32 multiply-adds of an instruction set, reading a mapped file.

Both are rates of all threads together, the best of several tries. What a program does is told as a share of them.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np

from benchmarks.isa import ISAS, below, machine_isa

_SOURCE = Path(__file__).with_name("roofline.c")


def compile_library(sources: list[Path], *options: object, compiler: str = "cc") -> ctypes.CDLL:
    """Compile sources and load the result. SystemExit if the compiler fails or is missing."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        made = Path(work) / "probe.so"
        command = [compiler, "-O2", "-shared", "-fPIC", *map(str, sources), *map(str, options), "-o", str(made)]
        try:
            done = subprocess.run([*command, "-pthread"], check=False)
        except FileNotFoundError:
            raise SystemExit(f"{compiler}: not installed") from None
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
        return ctypes.CDLL(str(made))


class Roofline:
    """The compiled loops."""

    def __init__(self) -> None:
        self._library = compile_library([_SOURCE])
        self._library.fma_rate.restype = self._library.read_rate.restype = ctypes.c_double
        self._library.fma_rate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_double)
        self._library.read_rate.argtypes = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
        )

    def flops(self, isa: str, threads: int, tries: int = 25, seconds: float = 0.01) -> float:
        """FLOP/s in fp32; AMX has no fp32, so that of AVX-512 counts there."""
        below(isa)
        wide = (machine_isa() if isa == "native" else isa) in {"avx512", "amx"}
        return float(max(self._library.fma_rate(int(wide), threads, seconds) for _ in range(tries)))

    def bandwidth(self, file: Path, threads: int, tries: int = 5) -> float:
        """Bytes a second in reading a file through a mapping that is resident, in order.

        The best of several ways, of which none is the best everywhere: with and without asking for lines ahead.
        """
        wide = int(machine_isa() in {"avx512", "amx"})
        with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            view = np.frombuffer(mapping, np.uint8)
            rates = [
                self._library.read_rate(view.ctypes.data, view.nbytes, ahead, wide, threads)
                for _ in range(tries + 1)
                for ahead in (0, 1024, 4096)
            ]
            del view
        return float(max(rates[3:]))


@click.command(help=__doc__)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option("--isa", type=click.Choice(ISAS), default="native", show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(file: Path | None, isa: str, threads: int) -> None:
    """Command line of this file."""
    roofline = Roofline()
    found = {"isa": isa, "machine": machine_isa(), "flops": roofline.flops(isa, threads)}
    if file is not None:
        found["bandwidth"] = roofline.bandwidth(file, threads)
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
