"""One cap of the instruction set for every program, and the measurement that it is obeyed."""

from __future__ import annotations

import pytest

from benchmarks import isa
from benchmarks.isa_check import MARGIN, problems
from benchmarks.roofline import Roofline


def test_a_cap_sets_every_variable_and_native_takes_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    capped = isa.capped_environment("avx2")
    names = ("POCKETLORA_ISA", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
    assert [capped[name] for name in names] == ["avx2", "avx2", "AVX2", "AVX2"]
    for name in names:
        monkeypatch.setenv(name, capped[name])
    assert not set(names) & set(isa.capped_environment("native"))


@pytest.mark.parametrize(("flags", "ours"), [({"avx512_vnni"}, "avx512_vnni"), (set(), "avx512")])
def test_a_cap_to_avx512_has_its_integers_where_the_cpu_has_them(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], ours: str
) -> None:
    monkeypatch.setattr(isa, "_cpu_flags", lambda: flags)
    assert isa.capped_environment("avx512")["POCKETLORA_ISA"] == ours


def test_a_cap_above_the_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isa, "machine_isa", lambda: "avx512")
    assert isa.below("avx2")
    assert not isa.below("avx512")
    assert not isa.below("native")
    with pytest.raises(SystemExit, match="--isa amx: the most that this CPU has is avx512"):
        isa.below("amx")


@pytest.mark.parametrize(
    ("name", "rates", "broken"),
    [
        ("avx2", {"float32": 96.0, "bfloat16": 1.0}, []),
        # MKL without its own variable.
        ("avx2", {"float32": 144.0, "bfloat16": 1.0}, ["float32"]),
        # AMX under a cap to AVX-512.
        ("avx512", {"float32": 90.0, "bfloat16": 1100.0}, ["bfloat16"]),
        ("amx", {"float32": 90.0, "bfloat16": 1100.0}, []),
    ],
)
def test_what_is_faster_than_the_capped_peak_is_named(name: str, rates: dict[str, float], broken: list[str]) -> None:
    found = problems(name, {"peak": 100e9, **{dtype: rate * 1e9 for dtype, rate in rates.items()}})
    assert [problem.split()[1] for problem in found] == broken
    assert not problems(name, {"peak": 100e9, "float32": 100e9 * MARGIN, "bfloat16": 0.0})


def test_the_machine_does_what_any_does() -> None:
    """A loop that was folded away, or left in memory, is orders of magnitude off."""
    rate = Roofline().flops("native", threads=1)
    assert 4e9 < rate < 2e12
