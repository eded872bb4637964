"""The profile's parts and the threads' ratios, from what their tools print."""

from __future__ import annotations

import pytest

from benchmarks.scaling import ratios
from benchmarks.step_profile import part_of, shares

REPORT = """
# Overhead  Shared Object          Symbol
    40.00%  libpocketlora.so       [.] pocketlora::gemm::micro<pocketlora::Avx2, 6, 1, true>
    20.00%  libpocketlora.so       [.] pocketlora::q4::dequantize_block<pocketlora::Avx2>
    10.00%  libpocketlora.so       [.] pocketlora::rms_norm_avx2
     5.00%  libexecutorch_kernels_optimized.so  [.] torch::executor::native::opt_add_out
     5.00%  [kernel.kallsyms]      [k] clear_page_erms
    20.00%  python3.11             [.] _PyEval_EvalFrameDefault
"""


def test_parts_are_shares_of_the_step_without_the_interpreter() -> None:
    assert shares(REPORT) == {
        "products: multiplying": pytest.approx(50.0),
        "products: decoding 4 bits": pytest.approx(25.0),
        "elementwise ops, norms": pytest.approx(18.75),
        "operating system": pytest.approx(6.25),
    }


@pytest.mark.parametrize(
    ("symbol", "part"),
    [
        ("pocketlora::q4::round_bytes<pocketlora::ManyBytesAvx512Vnni>", "products: packing, transposing"),
        ("pocketlora::vec::score_tile<pocketlora::vec::Avx2, pocketlora::vec::Float32Head>", "attention"),
        ("pocketlora::parallel_for<pocketlora::head::walk_vocabulary<pocketlora::Avx2>>", "loss"),
        ("pocketlora::vec::adamw<pocketlora::vec::Avx2>", "optimizer"),
        ("something_new", "the rest"),
    ],
)
def test_functions_belong_to_one_part(symbol: str, part: str) -> None:
    assert part_of("libpocketlora.so", f"[.] {symbol}") == part


def test_ratios_pair_the_turns() -> None:
    assert ratios([4.0, 6.0], [2.0, 4.0]) == [1.5, 2.0]
