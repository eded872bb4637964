"""Sessions from Python: truncation, forks, cancelling, shared prompts, watched folders, stop strings, fallback."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import AdapterChange, AdapterWatch, Engine, Sampling, Session
from tests.cli.conftest import Cli
from tests.support.bundles import Bundled

PROMPT = list(range(3, 25))
MORE = [7, 9, 11]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundled) -> Engine:
    return Engine(tiny_bundle.bundle, num_threads=1, prefix_cache_bytes=1 << 22)


def test_a_fork_and_a_truncated_session_go_on_alike(engine: Engine) -> None:
    session = Session(engine)
    session.prefill(PROMPT)
    fork = session.fork()
    first = session.prefill(MORE)
    assert len(fork) == len(PROMPT)
    assert fork.prefill(MORE).tobytes() == first.tobytes()
    session.truncate(len(PROMPT))
    assert session.prefill(MORE).tobytes() == first.tobytes()
    session.close()
    assert fork.generate([], Sampling(3, stop_tokens=())).tokens
    with pytest.raises(PocketLoraError, match="expected 0 to the session's") as caught:
        fork.truncate(10_000)
    assert caught.value.status == Status.INVALID_ARGUMENT


def test_a_shared_prompt_is_copied(engine: Engine) -> None:
    prompt = [5, *PROMPT]
    first, second = Session(engine), Session(engine)
    expected = first.prefill(prompt)
    assert second.prefill(prompt).tobytes() == expected.tobytes()
    assert first.info().copied_tokens == 0
    assert second.info().copied_tokens == len(prompt)


def test_a_cancel_from_another_thread_ends_a_generation(engine: Engine) -> None:
    session = Session(engine)
    told: list[int] = []

    def cancel(token: int) -> None:
        told.append(token)
        if len(told) == 3:
            other = threading.Thread(target=session.cancel)
            other.start()
            other.join()

    with pytest.raises(PocketLoraError) as caught:
        session.generate(PROMPT, Sampling(20, stop_tokens=()), cancel)
    assert caught.value.status == Status.CANCELLED
    assert len(told) == 3
    assert len(session) == len(PROMPT) + 3


@pytest.mark.parametrize("poll_only", [False, True])
def test_a_watched_folder(engine: Engine, trained: Path, tmp_path: Path, poll_only: bool) -> None:
    with AdapterWatch(engine, tmp_path, settle_ms=10, interval_ms=10, poll_only=poll_only) as watch:
        assert watch.poll() == []
        shutil.copytree(trained, tmp_path / "notes")
        (event,) = watch.poll(5000)
        assert (event.change, event.name, event.error) == (AdapterChange.ADDED, "notes", None)
        session = Session(engine)
        session.set_adapters([watch.get("notes")])
        adapted = session.prefill(PROMPT)
        assert np.any(adapted != Session(engine).prefill(PROMPT))
        (tmp_path / "notes" / "adapter_config.json").write_text("{")
        (event,) = watch.poll(5000)
        assert event.change == AdapterChange.REJECTED
        assert event.error is not None
        assert event.error.status == Status.ADAPTER_CORRUPT
        shutil.rmtree(tmp_path / "notes")
        (event,) = watch.poll(5000)
        assert event.change == AdapterChange.REMOVED
        with pytest.raises(PocketLoraError, match="no adapter 'notes'"):
            watch.get("notes")
        session.truncate(0)
        assert session.prefill(PROMPT).tobytes() == adapted.tobytes()


def generated(call: Cli, bundle: Path, *options: object) -> dict[str, object]:
    result = call("generate", bundle, "--prompt", "the cat", "--max-new-tokens", 24, "--json", *options)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_nothing_of_a_stop_string_is_printed(call: Cli, tiny_bundle: Bundled, trained: Path) -> None:
    adapter = ("--adapter", trained)
    text = str(generated(call, tiny_bundle.bundle, *adapter)["text"])
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    expected = text[: text.index(stop)]
    found = generated(call, tiny_bundle.bundle, *adapter, "--stop", stop, "--stop", "never said")
    assert found["text"] == expected
    assert found["stop_reason"] == "stop_string"
    streamed = call(
        "generate", tiny_bundle.bundle, "--prompt", "the cat", "--max-new-tokens", 24, *adapter, "--stop", stop
    )
    assert streamed.stdout == expected + "\n"
    assert generated(call, tiny_bundle.bundle, *adapter, "--stop", "never said")["text"] == text
    assert call("generate", tiny_bundle.bundle, "--prompt", "x", "--stop", "").exit_code == 2


def test_the_base_stands_in_for_a_missing_adapter(
    call: Cli, tiny_bundle: Bundled, trained: Path, tmp_path: Path
) -> None:
    base = generated(call, tiny_bundle.bundle)
    refused = call("generate", tiny_bundle.bundle, "--prompt", "the cat", "--adapter", tmp_path / "absent", "--json")
    assert refused.exit_code == Status.ADAPTER_MISSING_FILE.exit_code
    options = ("--adapter", tmp_path / "absent", "--adapter-fallback")
    result = call("generate", tiny_bundle.bundle, "--prompt", "the cat", "--max-new-tokens", 24, "--json", *options)
    assert result.exit_code == 0, result.output
    warning, found = map(json.loads, result.stdout.splitlines())
    assert (warning["event"], warning["code"]) == ("warning", int(Status.ADAPTER_MISSING_FILE))
    assert "absent" in warning["message"]
    assert found["text"] == base["text"]
    assert found["adapter_fallback"] is True
    assert generated(call, tiny_bundle.bundle, "--adapter", trained, "--adapter-fallback")["adapter_fallback"] is False
