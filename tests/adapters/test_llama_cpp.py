"""llama.cpp itself loads an exported adapter and computes what peft computes: names, alpha and the order of rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.adapters.conftest import PeftMaker
from tests.cli.conftest import call
from tests.support.models import TinyModel
from tests.support.oracle import load_adapter, load_base, logits_of, relative_error
from tests.support.tolerance import forward_bound

# A Python that has llama-cpp-python, which compiles llama.cpp for minutes and is no dependency of the project.
INTERPRETER = os.environ.get("POCKETLORA_LLAMA_CPP_PYTHON", sys.executable)
TOKENS = [1, 7, 42, 99, 123, 200, 5, 64]

# Its own process: the arguments are base, adapter ("-" for none) and the file for the logits of all tokens.
PROGRAM = """
import ctypes, sys
import llama_cpp as cpp
import numpy as np

base, adapter, output, *tokens = sys.argv[1:]
cpp.llama_backend_init()
model = cpp.llama_model_load_from_file(base.encode(), cpp.llama_model_default_params())
assert model, "the base does not load"
options = cpp.llama_context_default_params()
options.n_ctx, options.n_batch, options.n_threads = 64, 64, 1
# Float32, as in the reference: flash attention rounds queries to half precision.
options.type_k = options.type_v = 0
options.flash_attn_type = 0
context = cpp.llama_init_from_model(model, options)
if adapter != "-":
    loaded = cpp.llama_adapter_lora_init(model, adapter.encode())
    assert loaded, "the adapter does not load"
    scales = (ctypes.c_float * 1)(1.0)
    assert cpp.llama_set_adapters_lora(context, (type(loaded) * 1)(loaded), 1, scales) == 0
batch = cpp.llama_batch_init(64, 0, 1)
batch.n_tokens = len(tokens)
for i, token in enumerate(tokens):
    batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(token), i, 1, 1
    batch.seq_id[i][0] = 0
assert cpp.llama_decode(context, batch) == 0
width = cpp.llama_vocab_n_tokens(cpp.llama_model_get_vocab(model))
rows = [np.ctypeslib.as_array(cpp.llama_get_logits_ith(context, i), (width,)).copy() for i in range(len(tokens))]
np.save(output, np.stack(rows))
"""


def write_base(model: Path, tiny: TinyModel, path: Path) -> None:
    """The small model in llama.cpp's format, float32, without a vocabulary."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(tiny.vocab)
    writer.add_tokenizer_model("no_vocab")
    writer.add_context_length(4 * tiny.max_len)
    writer.add_embedding_length(tiny.hidden)
    writer.add_block_count(tiny.layers)
    writer.add_feed_forward_length(tiny.intermediate)
    writer.add_head_count(tiny.heads)
    writer.add_head_count_kv(tiny.kv_heads)
    writer.add_rope_dimension_count(tiny.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, tiny.layers)
    for name, values in load_file(model / "model.safetensors").items():
        heads = {"q_proj": tiny.heads, "k_proj": tiny.kv_heads}.get(name.split(".")[-2])
        rows = values if heads is None else values[_order(values.shape[0], heads)]
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _order(rows: int, heads: int) -> list[int]:
    """Hugging Face's row that is at each place: in a head, a row of the first half, then its partner in the second."""
    size = rows // heads
    return [head * size + half * size // 2 + i for head in range(heads) for i in range(size // 2) for half in (0, 1)]


def computed(base: Path, adapter: Path | None, output: Path) -> Any:
    """Logits of all tokens as llama.cpp computes them, [T, V]."""
    arguments = [INTERPRETER, "-c", PROGRAM, base, adapter or "-", output, *TOKENS]
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(output)


@pytest.fixture(scope="module")
def llama_cpp() -> None:
    probe = subprocess.run([INTERPRETER, "-c", "import llama_cpp"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip("no llama-cpp-python; POCKETLORA_LLAMA_CPP_PYTHON may name a Python that has it")


@pytest.mark.slow
@pytest.mark.usefixtures("llama_cpp")
@pytest.mark.parametrize(
    "config", [{}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}}]
)
def test_llama_cpp_computes_what_peft_computes(
    model_folder: Path, make_peft: PeftMaker, tmp_path: Path, config: dict[str, Any]
) -> None:
    tiny = TinyModel()
    base = tmp_path / "base.gguf"
    write_base(model_folder, tiny, base)
    tokens = np.array(TOKENS)
    plain = logits_of(load_base(model_folder), tokens)
    assert relative_error(computed(base, None, tmp_path / "plain.npy"), plain) <= forward_bound(tiny)
    folder = make_peft(**config)
    result = call("adapter", "export", folder, "--format", "gguf", "--base", model_folder, "-o", tmp_path / "a.gguf")
    assert result.exit_code == 0, result.output
    adapted = logits_of(load_adapter(model_folder, folder), tokens)
    error = relative_error(computed(base, tmp_path / "a.gguf", tmp_path / "adapted.npy"), adapted)
    print(f"llama.cpp against peft: {error:.2e}")
    assert error <= forward_bound(tiny)
    assert relative_error(adapted, plain) > 100 * forward_bound(tiny)
