"""The C++ tokenizer beside Hugging Face's: encoding on one thread, opening with a large vocabulary."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from benchmarks.results import REPOSITORY, write
from pocketlora_export.bundle.tokenizer_convert import convert_tokenizer
from pocketlora_export.bundle.tokenizer_library import CompactTokenizer

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def text_of_repository() -> str:
    """Prose and programs."""
    files = [*REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*/**/*.py"), *REPOSITORY.glob("runtime_cpp/**/*.cc")]
    own = (path for path in sorted(files) if ".venv" not in path.parts and "build" not in path.parts)
    return "\n".join(path.read_text("utf-8") for path in own)


def large_tokenizer(size: int) -> Tokenizer:
    """A byte-level vocabulary of this size: pairs of tokens so far, all of them reachable."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys(alphabet)
    merges = []
    pairs = ((left, right) for left in list(alphabet) for right in alphabet)
    for left, right in pairs:
        merges.append((left, right))
        tokens[left + right] = None
    whole = [token for token in tokens if len(token) == 2]
    for index in range(max(0, size - len(tokens))):
        left, right = whole[index % len(whole)], alphabet[index // len(whole) % 256]
        if left + right not in tokens:
            merges.append((left, right))
            tokens[left + right] = None
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), last])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def best(action: Callable[[], object], times: int = 5) -> float:
    """The shortest of several runs: seconds of this thread, so that other work on the machine does not count."""
    spent = []
    for _ in range(times):
        start = time.thread_time()
        action()
        spent.append(time.thread_time() - start)
    return min(spent)


def encoding(name: str, tokenizer: Tokenizer, text: str, work: Path) -> dict[str, str]:
    """Encoding one long text and its lines, both libraries with the same ids."""
    path = work / f"{name}.plt"
    path.write_bytes(convert_tokenizer(tokenizer))
    data = text.encode()
    ids = (ctypes.c_int64 * len(data))()
    with CompactTokenizer(path) as compact:
        same = compact.encode(text) == tokenizer.encode(text).ids
        ours = best(lambda: compact.encode_into(data, ids))
    theirs = best(lambda: tokenizer.encode(text))
    megabytes = len(data) / 1e6
    rates = {"C++ MB/s": megabytes / ours, "Hugging Face MB/s": megabytes / theirs, "ratio": theirs / ours}
    return {"tokenizer": name, "same ids": str(same)} | {key: f"{value:.1f}" for key, value in rates.items()}


def opening(size: int, work: Path) -> dict[str, str]:
    """Opening and a first short text, both libraries."""
    tokenizer = large_tokenizer(size)
    tokenizer.save(str(work / "tokenizer.json"))
    (work / "large.plt").write_bytes(convert_tokenizer(tokenizer))

    def open_compact() -> None:
        with CompactTokenizer(work / "large.plt") as compact:
            compact.encode("Hello, world!")

    milliseconds = {
        "C++ open + first text ms": best(open_compact) * 1e3,
        "Hugging Face open + first text ms": best(
            lambda: Tokenizer.from_file(str(work / "tokenizer.json")).encode("Hello, world!"), 3
        )
        * 1e3,
    }
    sizes = {
        name: (work / file).stat().st_size / 1e6
        for name, file in (("plt MB", "large.plt"), ("json MB", "tokenizer.json"))
    }
    return {"vocabulary": str(tokenizer.get_vocab_size())} | {k: f"{v:.2f}" for k, v in (milliseconds | sizes).items()}


@click.command(help=__doc__)
@click.option("--vocabulary", default=128_000, show_default=True, help="Tokens of the tokenizer that is opened.")
@click.option(
    "--tokenizer", "paths", multiple=True, type=click.Path(path_type=Path), help="Further tokenizer.json files."
)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/bench-results"), show_default=True)
def main(vocabulary: int, paths: tuple[Path, ...], output: Path) -> None:
    """Command line of this file."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    text = text_of_repository()
    shipped = REPOSITORY / "models" / "pocket-llama-4m" / "tokenizer.json"
    with tempfile.TemporaryDirectory(prefix="pocketlora-") as work:
        rows = [opening(vocabulary, Path(work))]
        named = {path.parent.name: path for path in (shipped, *paths)}
        encoded = [encoding(name, Tokenizer.from_file(str(path)), text, Path(work)) for name, path in named.items()]
    write(output, "tokenizer_open", "Opening a tokenizer", rows)
    write(output, "tokenizer_encode", f"Encoding {len(text.encode()) / 1e6:.1f} MB of this repository", encoded)


if __name__ == "__main__":
    main()
