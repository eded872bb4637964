"""Estimates for ARM cores without the hardware: llvm-mca over the inner loops of the NEON kernels.

Every kernel is compiled as it is shipped (aarch64 g++, its own flags); the loop with the most multiply-accumulates is
taken from the assembly, with the loop around it where that one scales the sums of a chunk, and llvm-mca's model of a
core says how many cycles a turn takes when every load hits the nearest cache. Nothing here was measured on a device.
Needs the cross compiler (`make build-arm`) and llvm-mca.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import NamedTuple

import click

from benchmarks.results import REPOSITORY, Row, write

# Chip -> llvm-mca's model. The Neoverse V2 is derived from the Cortex-X3, and nearest to the X4 of what LLVM has.
CORES = {
    "S23, S24: Cortex-X3, X4 (model of Neoverse V2)": "neoverse-v2",
    "S24: Cortex-A720": "cortex-a720",
    "S25: Oryon": "oryon-1",
}
OLDEST_LLVM = 18
HEADERS = """
#include "kernels/common/fixed_neon.h"
#include "kernels/common/bytes_neon.h"
#ifdef __ARM_FEATURE_DOTPROD
#include "kernels/common/bytes_neon_dot.h"
#include "kernels/common/many_bytes_neon_dot.h"
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
#include "kernels/common/bytes_neon_i8mm.h"
#include "kernels/common/many_bytes_neon_i8mm.h"
#endif
#ifdef __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
#include "kernels/common/many_bf16_neon.h"
#endif
#include "kernels/q4/products.h"
using namespace pocketlora;
"""
TILE = "gemm::micro<Neon, Neon::kTileRows, Neon::kTilePanels, {}>({})"
TILE_ARGUMENTS = "const float*, int64_t, const float*, int64_t, int64_t, float*, int64_t, bool"
# As in kernels/CMakeLists.txt.
BASELINE, DOT, I8MM = "armv8-a", "armv8.2-a+dotprod", "armv8.2-a+dotprod+i8mm"
BF16 = f"{I8MM}+bf16"


def few_rows(template: str, vectors: str, rows: str, table: str = "CodeTable") -> str:
    """A product of few rows with one panel of W."""
    return f"template void q4::{template}({rows}, const Q4Matrix&, const {vectors}::{table}&, int64_t, float (*)[16]);"


def fp32_rows(rows: int) -> str:
    """The same in fp32."""
    return few_rows(f"gemv_panel<Neon, {rows}, 64>", "Neon", "const float*, int64_t", "DotTable")


def integer_rows(vectors: str, rows: int) -> str:
    """The same in integers, each row of x for itself."""
    return few_rows(f"fixed_panel<{vectors}, {rows}, 64>", vectors, "const q4::FixedRows&")


def paired_rows(rows: int) -> str:
    """The same with two rows of x in an instruction."""
    return few_rows(f"paired_panel<BytesNeonI8mm, {rows // 2}, 64>", "BytesNeonI8mm", "const q4::PairedRows&")


def many_rows(vectors: str, chunk: int) -> str:
    """The register tile of a product of many rows in bytes, forward as backward."""
    arguments = "const bytes_gemm::Rows&, const bytes_gemm::Panels&, int64_t, float*, int64_t, bool"
    return f"template void bytes_gemm::micro_by_chunks<{vectors}, {chunk}, {vectors}::kRegisterRows>({arguments});"


def bf16_tile() -> str:
    """The register tile of a product of many rows in bf16, forward as backward."""
    arguments = "const uint16_t*, int64_t, const uint16_t*, int64_t, int64_t, float*, int64_t, bool"
    return f"template void ManyBf16Neon::multiply<3, 1>({arguments});"


class Kernel(NamedTuple):
    """A template's instance, what it is compiled for, and the multiply-accumulates of a chunk that has its scales."""

    instance: str
    march: str
    chunk: int = 0


KERNELS = {
    "fp32 product, forward": Kernel(f"template void {TILE.format('true', TILE_ARGUMENTS)};", BASELINE),
    "fp32 product, backward": Kernel(f"template void {TILE.format('false', TILE_ARGUMENTS)};", BASELINE),
    "int8 product, SDOT, the integers": Kernel(many_rows("ManyBytesNeonDot", 64), DOT),
    "int8 product, SDOT, chunks of 64": Kernel(many_rows("ManyBytesNeonDot", 64), DOT, 6 * 16 * 64),
    "int8 product, SDOT, chunks of 32": Kernel(many_rows("ManyBytesNeonDot", 32), DOT, 6 * 16 * 32),
    "int8 product, SMMLA, the integers": Kernel(many_rows("ManyBytesNeonI8mm", 64), I8MM),
    "int8 product, SMMLA, chunks of 64": Kernel(many_rows("ManyBytesNeonI8mm", 64), I8MM, 6 * 16 * 64),
    "int8 product, SMMLA, chunks of 32": Kernel(many_rows("ManyBytesNeonI8mm", 32), I8MM, 6 * 16 * 32),
    "bf16 product, BFMMLA": Kernel(bf16_tile(), BF16),
    "one row, fp32": Kernel(fp32_rows(1), BASELINE),
    "one row, int8": Kernel(integer_rows("BytesNeon", 1), BASELINE),
    "one row, int8, SDOT": Kernel(integer_rows("BytesNeonDot", 1), DOT),
    "2 rows, int8, SMMLA": Kernel(paired_rows(2), I8MM),
    "8 rows, fp32": Kernel(fp32_rows(8), BASELINE),
    "8 rows, int16": Kernel(integer_rows("FixedNeon", 8), BASELINE),
    "8 rows, int8": Kernel(integer_rows("BytesNeon", 8), BASELINE),
    "8 rows, int8, SDOT": Kernel(integer_rows("BytesNeonDot", 8), DOT),
    "8 rows, int8, SMMLA": Kernel(paired_rows(8), I8MM),
    "16 rows, int8, SMMLA": Kernel(paired_rows(16), I8MM),
}
# Multiply-accumulates of an instruction on 128 bits, by its name and its first two operands' elements.
MACS = {
    "fmla 4s 4s": 4, "smull 4s 4h": 4, "smlal 4s 4h": 4, "smull2 4s 8h": 4, "smlal2 4s 8h": 4,
    "smull 8h 8b": 8, "smlal 8h 8b": 8, "smull2 8h 16b": 8, "smlal2 8h 16b": 8, "sdot 4s 16b": 16, "smmla 4s 16b": 32,
    "bfmmla 4s 8h": 16,
}  # fmt: skip
KINDS = {
    "load": r"ld\w*", "store": r"st\w*", "look-up, shuffle": r"tbl|tbx|zip\d|uzp\d|trn\d|ext|dup|ushll2?|sshll2?|mov",
}  # fmt: skip


@dataclass(frozen=True)
class Loop:
    """The instructions of one turn."""

    lines: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Mnemonics."""
        return [line.split()[0] for line in self.lines]

    @property
    def multiplications(self) -> Counter[str]:
        """The instructions of MACS; beside integers, those of floats only scale."""
        found: Counter[str] = Counter()
        for line in self.lines:
            elements = re.findall(r"\bv\d+\.(\d*[bhsd])", line)
            found[" ".join([line.split()[0], *elements[:2]])] += 1
        found = Counter({kind: count for kind, count in found.items() if kind in MACS})
        return Counter({kind: count for kind, count in found.items() if len(found) == 1 or not kind.startswith("f")})

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a turn, on vectors."""
        return sum(MACS[kind] * count for kind, count in self.multiplications.items())

    def mix(self) -> str:
        """Instructions by kind."""
        kinds = Counter({"multiply": sum(self.multiplications.values())})
        multiplying = {kind.split()[0] for kind in self.multiplications}
        for name in self.names:
            if name not in multiplying:
                kinds[next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), "other")] += 1
        return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def assembly(kernel: str, march: str) -> str:
    """The kernel's assembly, with the kernels' own flags."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as folder:
        source = Path(folder) / "kernel.cc"
        source.write_text(f"{HEADERS}{kernel}\n")
        options = ("-std=c++17", "-O3", "-DNDEBUG", f"-march={march}", "-I", str(REPOSITORY))
        command = ["aarch64-linux-gnu-g++", *options, "-S", "-o", "-", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the kernel does not compile for aarch64:\n{done.stderr}")
        return done.stdout


Span = tuple[int, int]


def spans_of(lines: list[str]) -> list[Span]:
    """The first and the last line of each loop."""
    labels = {line[:-1]: number for number, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    spans = []
    for number, line in enumerate(lines):
        target = re.match(r"\s+(?:b(?:\.?[a-z]{2})?|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)
        start = labels.get(target.group(1), number) if target else number
        if start < number:
            spans.append((start, number))
    return spans


def around(span: Span, others: list[Span]) -> list[Span]:
    """The loops around one, the nearest first."""
    found = [other for other in others if other[0] <= span[0] and span[1] <= other[1] and other != span]
    return sorted(found, key=lambda other: other[1] - other[0])


def instructions(lines: list[str]) -> tuple[str, ...]:
    """Those of some lines of assembly."""
    stripped = (line.strip() for line in lines)
    return tuple(line for line in stripped if line and not re.match(r"[.#/]|\w+:", line))


def hottest(kernel: Kernel) -> Loop:
    """The innermost loop with the most multiply-accumulates; of chunks a turn of the loop around it."""
    lines = assembly(kernel.instance, kernel.march).splitlines()
    spans = spans_of(lines)
    innermost = [span for span in spans if not any(span in around(other, spans) for other in spans)]
    start, end = max(innermost, key=lambda span: Loop(instructions(lines[span[0] : span[1] + 1])).macs)
    inner = Loop(instructions(lines[start : end + 1]))
    turns = kernel.chunk // inner.macs
    if turns < 2:  # one chunk at most: the compiler unrolls short ones
        return inner
    first, last = around((start, end), spans)[0]
    return Loop(instructions(lines[first:start]) + turns * inner.lines + instructions(lines[end + 1 : last + 1]))


def cycles(mca: str, core: str, lines: tuple[str, ...], turns: int = 200) -> tuple[float, int]:
    """Cycles of one turn of a loop, and how many of its instructions the model does not know and leaves out."""
    # The models do not follow branches; a label of the whole file would not be found.
    code = "\n".join(re.sub(r"\.L\w+", "0", line) for line in lines)
    # Oryon's does not know SDOT by a lane, which takes the others as long as SDOT of whole vectors.
    code = re.sub(r"(sdot\s.*)\.4b\[\d\]", r"\1.16b", code)
    options = (f"-mcpu={core}", f"-iterations={turns}", "--skip-unsupported-instructions=lack-sched", "--json")
    command = [mca, "-mtriple=aarch64", *options, "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{mca} -mcpu={core}: {done.stderr.strip()}")
    total = float(json.loads(done.stdout)["CodeRegions"][0]["SummaryView"]["TotalCycles"])
    return total / turns, done.stderr.count("note: instruction:")


def peak(mca: str, core: str, kind: str) -> float:
    """Multiply-accumulates a cycle of a stream of one instruction of MACS, as the model has it."""
    name, to, of = kind.split()
    stream = tuple(f"{name} v{number}.{to}, v30.{of}, v31.{of}" for number in range(24))
    return 24 * MACS[kind] / cycles(mca, core, stream)[0]


def newest_mca() -> str | None:
    """llvm-mca, of the newest LLVM that is installed."""
    numbered = (f"llvm-mca-{version}" for version in range(30, OLDEST_LLVM - 1, -1))
    found = next((name for name in numbered if which(name)), None)
    if found is None and which("llvm-mca"):
        told = subprocess.run(["llvm-mca", "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"version (\d+)", told)
        found = "llvm-mca" if version and int(version.group(1)) >= OLDEST_LLVM else None
    return found


def row_of(mca: str, name: str, loop: Loop, chip: str, core: str) -> Row:
    """One kernel on one core."""
    spent, unknown = cycles(mca, core, loop.lines)
    multiplying = sum(MACS[kind] * count / peak(mca, core, kind) for kind, count in loop.multiplications.items())
    most = loop.macs / multiplying
    return {
        "kernel": name,
        "core": chip,
        "MAC a turn": loop.macs,
        "cycles a turn": f"{spent:.1f}",
        "MAC a cycle": f"{loop.macs / spent:.1f}",
        "the model's most": f"{most:.1f}",
        "share": f"{100 * loop.macs / spent / most:.0f} %",
        "instructions": f"{len(loop.lines) - unknown} of {len(loop.lines)}",
    }


@click.command(help=__doc__)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(output: Path) -> None:
    """Command line of this file."""
    mca = newest_mca()
    if mca is None or which("aarch64-linux-gnu-g++") is None:
        raise SystemExit("needs aarch64-linux-gnu-g++ and llvm-mca of LLVM 18 or newer (Debian: llvm-19)")
    found = {name: hottest(kernel) for name, kernel in KERNELS.items()}
    table = [row_of(mca, name, loop, chip, core) for name, loop in found.items() for chip, core in CORES.items()]
    write(output, "arm_estimates", f"Estimates by {mca}, nothing measured: inner loops of the NEON kernels", table)
    mixes: list[Row] = [{"kernel": name, "instructions of a turn": loop.mix()} for name, loop in found.items()]
    write(output, "arm_mixes", "Instructions of the same loops", mixes)


if __name__ == "__main__":
    main()
