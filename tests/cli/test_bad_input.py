"""Every bad input of `train`, `eval` and `generate`: one clear error, its exit code, nothing left behind."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pocketlora_export.adapters.checksums import CHECKSUMS_NAME
from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME
from tests.cli.conftest import Cli, write_rows
from tests.support.bundles import Bundled
from tests.support.models import MODULES, TinyModel

Edit = Callable[[Path], object]


def refused(call: Cli, exit_code: int, *arguments: object) -> str:
    """Run a command that must fail without a traceback; return the message, which is also the JSON event."""
    result = call(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    event = json.loads(result.stdout.splitlines()[-1])
    assert event["event"] == "error"
    assert event["message"] in result.stderr
    message: str = event["message"]
    return message


class TestData:
    """Rows."""

    @pytest.fixture
    def train(self, call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> Callable[[Path, int], str]:
        def run(data: Path, exit_code: int) -> str:
            output = tmp_path / "out"
            message = refused(call, exit_code, "train", tiny_bundle.bundle, "--data", data, "--output", output)
            assert not output.exists()
            return message

        return run

    def test_empty(self, train: Callable[[Path, int], str], tmp_path: Path) -> None:
        path = write_rows(tmp_path / "rows.jsonl")
        assert f"{path}: no rows" in train(path, 3)

    def test_missing(self, train: Callable[[Path, int], str], tmp_path: Path) -> None:
        assert "absent.jsonl: expected a JSONL file, found nothing" in train(tmp_path / "absent.jsonl", 3)

    def test_malformed(self, train: Callable[[Path, int], str], tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_text('{"text": "fine"}\n{"text": \n\n{"txet": "x"}\n')
        message = train(path, 3)
        assert f"{path}:2: not JSON" in message
        assert (
            f"{path}:4: expected exactly one of 'text', 'messages', 'prompt', 'segments', 'token_ids', found 'txet'"
            in message
        )

    def test_too_long(self, train: Callable[[Path, int], str], tmp_path: Path, tiny_bundle: Bundled) -> None:
        path = write_rows(tmp_path / "rows.jsonl", {"text": "fine"}, {"text": "x" * 60})
        message = train(path, 2)
        assert f"{path}:2: the row has 62 tokens" in message
        assert f"at most {tiny_bundle.tiny.train_len}" in message
        assert "--truncate" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rank", 9), ["rank 9: the bundle allows 1 to 8"]),
        (("--target-modules", "q_proj,nonsense"), ["not in this bundle: nonsense", *MODULES]),
        (("--rank", 99, "--target-modules", "no,nope"), ["rank 99", "not in this bundle: no, nope"]),
        (("--rank", 0), ["0"]),
        (("--optimizer", "adam"), ["adamw"]),
        (("--eval-every", 3), ["--eval-every needs --valid"]),
        (("--init-adapter", "x", "--rank", 2), ["--rank cannot be combined with --init-adapter"]),
    ],
)
def test_options(
    call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path, arguments: tuple[object, ...], words: list[str]
) -> None:
    output = tmp_path / "out"
    common = ("train", tiny_bundle.bundle, "--data", text_rows, "--output", output)
    message = refused(call, 2, *common, *arguments)
    assert all(word in message for word in words), message
    assert not output.exists()


def edit_tensors(folder: Path, edit: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change the tensors of an adapter, keeping the file's metadata; without checksums, which would find it first."""
    (folder / CHECKSUMS_NAME).unlink()
    path = folder / WEIGHTS_NAME
    with safe_open(str(path), framework="np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata=metadata)


def test_problems_of_several_options_are_told_at_once(call: Cli, tiny_bundle: Bundled, tmp_path: Path) -> None:
    data, output = write_rows(tmp_path / "rows.jsonl"), tmp_path / "out"
    arguments = ("--data", data, "--valid", tmp_path / "absent.jsonl", "--output", output, "--rank", 9)
    message = refused(call, 2, "train", tiny_bundle.bundle, *arguments)
    assert all(words in message for words in ("rank 9: ", f"{data}: no rows", "absent.jsonl: expected a JSONL file"))


class TestAdapter:
    """Adapter folders that do not fit."""

    @pytest.fixture
    def folder(self, trained: Path, tmp_path: Path) -> Path:
        return shutil.copytree(trained, tmp_path / "adapter")

    @pytest.fixture
    def use(self, call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path) -> Callable[[Path], str]:
        """The message of all three commands, which must be the same."""

        def run(folder: Path) -> str:
            bundle, output = tiny_bundle.bundle, tmp_path / "out"
            messages = {
                refused(call, 5, "eval", bundle, "--data", text_rows, "--adapter", folder),
                refused(call, 5, "generate", bundle, "--prompt", "x", "--adapter", folder),
                refused(call, 5, "train", bundle, "--data", text_rows, "--init-adapter", folder, "--output", output),
            }
            assert len(messages) == 1
            assert not output.exists()
            return messages.pop()

        return run

    def test_missing(self, use: Callable[[Path], str], tmp_path: Path) -> None:
        assert str(tmp_path / "absent") in use(tmp_path / "absent")

    @pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
    def test_missing_file(self, use: Callable[[Path], str], folder: Path, name: str) -> None:
        (folder / name).unlink()
        assert name in use(folder)

    @pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
    def test_truncated_file(self, use: Callable[[Path], str], folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        assert name in use(folder)

    def test_missing_extra_and_misshaped_tensors_are_all_listed(self, use: Callable[[Path], str], folder: Path) -> None:
        prefix = "base_model.model.model.layers."
        missing = f"{prefix}0.self_attn.q_proj.lora_A.weight"
        misshaped = f"{prefix}1.mlp.down_proj.lora_B.weight"
        extra = f"{prefix}7.self_attn.q_proj.lora_A.weight"

        def edit(tensors: dict[str, np.ndarray]) -> None:
            tensors[extra] = tensors.pop(missing)
            tensors[misshaped] = np.ascontiguousarray(tensors[misshaped].T)

        edit_tensors(folder, edit)
        message = use(folder)
        assert all(name.removeprefix("base_model.model.").removesuffix(".weight") in message
                   for name in (missing, misshaped, extra)), message  # fmt: skip

    def test_another_base(
        self, call: Cli, make_bundle: Callable[[TinyModel], Bundled], text_rows: Path, trained: Path
    ) -> None:
        # The parity tests use this one too: another base whose adapters have the same shapes.
        other = make_bundle(TinyModel(quant="int4", tied=False, llama3_rope=True, biases=True, seed=3))
        message = refused(call, 5, "eval", other.bundle, "--data", text_rows, "--adapter", trained)
        assert "base" in message
        digest = hashlib.sha256((other.bundle / "base.ptd").read_bytes()).hexdigest()
        assert digest[:8] in message


class TestBundle:
    """Bundles that are damaged, incomplete or too new."""

    @pytest.fixture
    def copy(self, tiny_bundle: Bundled, tmp_path: Path) -> Path:
        return shutil.copytree(tiny_bundle.bundle, tmp_path / "bundle")

    @pytest.fixture
    def use(self, call: Cli, text_rows: Path, tmp_path: Path) -> Callable[[Path], str]:
        def run(bundle: Path) -> str:
            output = tmp_path / "out"
            messages = {
                refused(call, 4, "eval", bundle, "--data", text_rows),
                refused(call, 4, "generate", bundle, "--prompt", "x"),
                refused(call, 4, "train", bundle, "--data", text_rows, "--output", output),
            }
            assert len(messages) == 1
            assert not output.exists()
            return messages.pop()

        return run

    def test_missing(self, use: Callable[[Path], str], tmp_path: Path) -> None:
        assert str(tmp_path / "absent") in use(tmp_path / "absent")

    @pytest.mark.parametrize(
        "name", ["manifest.json", "base.ptd", "programs/cpu/train.pte", "programs/cpu/infer.pte", "tokenizer.json"]
    )
    @pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
    def test_damaged_files_are_named(self, use: Callable[[Path], str], copy: Path, name: str, damage: str) -> None:
        path = copy / name
        content = bytearray(path.read_bytes())
        if damage == "missing":
            path.unlink()
        elif damage == "truncated":
            path.write_bytes(content[:-7])
        else:
            # Opening reads the header of base.ptd; its data is hashed by `verify`.
            place = content.index(b"model.norm.weight") if name == "base.ptd" else len(content) // 2
            content[place] ^= 0x10
            path.write_bytes(content)
        assert name in use(copy)

    def test_newer_schema(self, use: Callable[[Path], str], copy: Path) -> None:
        path = copy / "manifest.json"
        manifest = json.loads(path.read_text())
        version = f"{int(manifest['schema_version'].split('.')[0]) + 1}.0"
        path.write_text(json.dumps({**manifest, "schema_version": version}))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (copy / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
        assert version in use(copy)


def test_output_that_cannot_be_written(call: Cli, tiny_bundle: Bundled, text_rows: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    output = tmp_path / "file" / "adapter"
    message = refused(call, 7, "train", tiny_bundle.bundle, "--data", text_rows, "--output", output)
    assert str(output) in message
