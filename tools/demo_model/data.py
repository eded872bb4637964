"""Training windows: runs of prose and turns of dialogue, as token tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from tools.demo_model.corpus import Chapter, dialogues
from tools.demo_model.tokenizer import BOS, EOS, TURN_END, TURN_START, token_id

IGNORED = -100
_ROLES = ("user", "assistant")


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of ``text`` alone, without BOS."""
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def as_chat(turns: Sequence[str]) -> str:
    """Consecutive speeches as alternating turns, quotation marks removed."""
    return "".join(
        f"{TURN_START}{_ROLES[i % 2]}\n{turn.replace(chr(34), '')}{TURN_END}\n" for i, turn in enumerate(turns)
    )


class Windows:
    """Draws random training batches; every row begins with BOS."""

    def __init__(self, tokenizer: Tokenizer, chapters: Sequence[Chapter], seed: int) -> None:
        self._bos = token_id(tokenizer, BOS)
        self._pad = token_id(tokenizer, EOS)
        self.generator = torch.Generator().manual_seed(seed)
        tokens: list[int] = []
        starts: list[int] = []
        for chapter in chapters:
            tokens.append(self._bos)
            for index, paragraph in enumerate(chapter.paragraphs):
                tokens += encode(tokenizer, "\n\n") if index else []
                starts.append(len(tokens))
                tokens += encode(tokenizer, paragraph)
            tokens.append(token_id(tokenizer, EOS))
        self.tokens = torch.tensor(tokens)
        self._starts = torch.tensor(starts)
        runs = [run for chapter in chapters for run in dialogues(chapter)]
        self._chats = [torch.tensor(encode(tokenizer, as_chat(run))) for run in runs]

    def batch(self, rows: int, length: int, chat_share: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(inputs, labels), each ``rows`` x ``length``; padding is not scored."""
        inputs = torch.full((rows, length), self._pad)
        labels = torch.full((rows, length), IGNORED)
        for row in range(rows):
            is_chat = torch.rand((), generator=self.generator).item() < chat_share
            body = self._chat(length - 1) if is_chat else self._prose(length - 1)
            inputs[row, 0] = self._bos
            inputs[row, 1 : 1 + len(body)] = body
            labels[row, 1 : 1 + len(body)] = body
        return inputs, labels

    def _draw(self, limit: int) -> int:
        return int(torch.randint(limit, (), generator=self.generator))

    def _prose(self, length: int) -> torch.Tensor:
        start = int(self._starts[self._draw(len(self._starts))])
        return self.tokens[start : start + length]

    def _chat(self, length: int) -> torch.Tensor:
        pieces: list[torch.Tensor] = []
        filled = 0
        while filled < length:
            pieces.append(self._chats[self._draw(len(self._chats))])
            filled += len(pieces[-1])
        return torch.cat(pieces)[:length]


def held_out_windows(tokenizer: Tokenizer, chapters: Sequence[Chapter], length: int) -> torch.Tensor:
    """Consecutive windows over the held-out chapters, each opened by BOS."""
    bos = token_id(tokenizer, BOS)
    rows: list[list[int]] = []
    for chapter in chapters:
        ids = encode(tokenizer, chapter.text)
        cuts = range(0, len(ids) - length + 2, length - 1)
        rows += [[bos, *ids[cut : cut + length - 1]] for cut in cuts]
    return torch.tensor(rows)
