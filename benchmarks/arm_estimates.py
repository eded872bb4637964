"""Estimates for ARM cores without the hardware: llvm-mca over the inner loops of the NEON kernels.

Every kernel is compiled as it is shipped (aarch64 g++, its own flags); the loop with the most multiply-accumulates is
taken from the assembly, and llvm-mca's model of a core says how many cycles a turn takes when every load hits the
nearest cache. Nothing here was measured on a device. Needs the cross compiler (`make build-arm`) and llvm-mca.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import click

from benchmarks.results import REPOSITORY, Row, write

# Chip -> llvm-mca's model. The Neoverse V2 is derived from the Cortex-X3, and nearest to the X4 of what LLVM has.
CORES = {
    "S23, S24: Cortex-X3, X4 (model of Neoverse V2)": "neoverse-v2",
    "S24: Cortex-A720": "cortex-a720",
    "S25: Oryon": "oryon-1",
}
OLDEST_LLVM = 18
HEADERS = '#include "kernels/common/fixed_neon.h"\n#include "kernels/q4/products.h"\nusing namespace pocketlora;\n'
TILE = "gemm::micro<Neon, Neon::kTileRows, Neon::kTilePanels, {}>({})"
TILE_ARGUMENTS = "const float*, int64_t, const float*, int64_t, int64_t, float*, int64_t, bool"
KERNELS = {
    "fp32 product, forward": f"template void {TILE.format('true', TILE_ARGUMENTS)};",
    "fp32 product, backward": f"template void {TILE.format('false', TILE_ARGUMENTS)};",
    "one row, fp32": "template void q4::gemv_panel<Neon, 1, 64>(const float*, int64_t, const Q4Matrix&, "
    "const Neon::DotTable&, int64_t, float (*)[16]);",
    "8 rows, fp32": "template void q4::gemv_panel<Neon, 8, 64>(const float*, int64_t, const Q4Matrix&, "
    "const Neon::DotTable&, int64_t, float (*)[16]);",
    "8 rows, 16-bit integers": "template void q4::fixed_panel<FixedNeon, 8, 64>(const q4::FixedRows&, const Q4Matrix&, "
    "const FixedNeon::CodeTable&, int64_t, float (*)[16]);",
}
# Multiply-accumulates of an instruction on 128 bits.
MACS = {"fmla": 4, "smlal": 4, "smlal2": 4, "smull": 4, "smull2": 4}
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
    def macs(self) -> int:
        """Multiply-accumulates of a turn, on vectors."""
        vectors = (line for line in self.lines if re.search(r"\bv\d+\.", line))
        return sum(MACS.get(line.split()[0], 0) for line in vectors)

    def mix(self) -> str:
        """Instructions by kind."""
        kinds: Counter[str] = Counter()
        for line, name in zip(self.lines, self.names, strict=True):
            of = next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), "other")
            kinds["multiply" if name in MACS and re.search(r"\bv\d+\.", line) else of] += 1
        return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def assembly(kernel: str) -> str:
    """The kernel's assembly for baseline aarch64, with the kernels' own flags."""
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as folder:
        source = Path(folder) / "kernel.cc"
        source.write_text(f"{HEADERS}{kernel}\n")
        command = ["aarch64-linux-gnu-g++", "-std=c++17", "-O3", "-DNDEBUG", "-I", str(REPOSITORY), "-S", "-o", "-"]
        done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the kernel does not compile for aarch64:\n{done.stderr}")
        return done.stdout


def loops(text: str) -> Iterator[Loop]:
    """The innermost loops of an assembly file."""
    lines = text.splitlines()
    labels = {line[:-1]: number for number, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    spans = []
    for number, line in enumerate(lines):
        target = re.match(r"\s+(?:b(?:\.?[a-z]{2})?|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)
        start = labels.get(target.group(1), number) if target else number
        if start < number:
            spans.append((start, number))
    for start, end in spans:
        if any(start <= other[0] and other[1] <= end and other != (start, end) for other in spans):
            continue
        body = [part.strip() for part in lines[start : end + 1]]
        yield Loop(tuple(part for part in body if part and not re.match(r"[.#/]|\w+:", part)))


def hottest(kernel: str) -> Loop:
    """The innermost loop with the most multiply-accumulates."""
    return max(loops(assembly(kernel)), key=lambda loop: loop.macs)


def cycles(mca: str, core: str, lines: tuple[str, ...], turns: int = 200) -> tuple[float, int]:
    """Cycles of one turn of a loop, and how many of its instructions the model does not know and leaves out."""
    # The models do not follow branches; a label of the whole file would not be found.
    code = "\n".join(re.sub(r"\.L\w+", "0", line) for line in lines)
    options = (f"-mcpu={core}", f"-iterations={turns}", "--skip-unsupported-instructions=lack-sched", "--json")
    command = [mca, "-mtriple=aarch64", *options, "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{mca} -mcpu={core}: {done.stderr.strip()}")
    total = float(json.loads(done.stdout)["CodeRegions"][0]["SummaryView"]["TotalCycles"])
    return total / turns, done.stderr.count("note: instruction:")


def peak(mca: str, core: str, name: str) -> float:
    """Multiply-accumulates a cycle of a stream of one instruction, as the model has it."""
    operands = {"fmla": ".4s, v30.4s, v31.4s", "smlal": ".4s, v30.4h, v31.4h"}
    stream = tuple(f"{name} v{number}{operands[name]}" for number in range(24))
    return 24 * MACS[name] / cycles(mca, core, stream)[0]


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
    instruction = "smlal" if any(line.startswith("sm") for line in loop.lines) else "fmla"
    most = peak(mca, core, instruction)
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
