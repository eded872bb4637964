"""A conversation of many turns over one session: only what a turn adds is computed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime.engine import AdapterSet
from pocketlora_export.runtime.session import Sampling, Session

Message = dict[str, str]
# Gets every new token and the tokens before the answer; False ends the answer.
OnToken = Callable[[int, Sequence[int]], object]
# Of the context, what an answer has for itself at least, unless fewer tokens are asked for.
ANSWER_SHARE = 4


class Coder(Protocol):
    """Conversations to tokens, and tokens to text."""

    def encode_chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The conversation, up to where the assistant's answer begins."""

    def decode(self, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        """The text of tokens that continue `after`."""


@dataclass(frozen=True)
class Turn:
    """One answer.

    Attributes:
        text: what the model said.
        tokens: its ids, the stop token included.
        prompt_tokens: of the whole conversation up to here.
        reused_tokens: those of `prompt_tokens` whose rows in the KV cache were already there.
        dropped_turns: oldest turns that the context had no room for any more.
        stop_reason: "length", "stop_token", "callback" or "cancelled".
        prefill_seconds, decode_seconds: time to the first token, and for the others.
    """

    text: str
    tokens: list[int]
    prompt_tokens: int
    reused_tokens: int
    dropped_turns: int
    stop_reason: str
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Decoded tokens a second; the first token comes from the prefill."""
        rest = len(self.tokens) - 1
        return rest / self.decode_seconds if self.decode_seconds > 0 and rest > 0 else 0.0


class Conversation:
    """Messages, and the session that holds them.

    The history is rendered anew for every turn; the session keeps the tokens that the new rendering begins with and
    computes the others. The answers are those of a session that was given the same tokens by the same calls.
    For one thread at a time, but for `cancel`.
    """

    def __init__(self, session: Session, coder: Coder, system: str | None = None) -> None:
        self._session, self._coder = session, coder
        self._system: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self._turns: list[tuple[Message, Message]] = []
        self._held: list[int] = []
        # Lengths at which a call of the session ended: rows are kept up to one of them.
        self._ends: list[int] = []
        self._lock = threading.Lock()
        self._running = self._cancelled = False

    @property
    def messages(self) -> list[Message]:
        """The system message, then questions and answers."""
        return [*self._system, *(message for turn in self._turns for message in turn)]

    @property
    def num_turns(self) -> int:
        """Questions that were answered and not dropped."""
        return len(self._turns)

    def ask(
        self, text: str, sampling: Sampling, on_token: Callable[[int, Sequence[int]], object] | None = None
    ) -> Turn:
        """Answer a message.

        Args:
            text: the user's message.
            sampling: how; fewer tokens than `max_new_tokens` are made where the context ends.
            on_token: called with every new token.

        Raises:
            PocketLoraError: SEQUENCE_TOO_LONG when the message alone has no room. The history is then as before, and
                also when a cancelled turn has no token yet.
        """
        question = {"role": "user", "content": text}
        prompt, dropped = self._fitting(question, sampling.max_new_tokens)
        kept, reused = self._keep(prompt)
        room = self._session.info().context_length - len(prompt)
        tokens: list[int] = []

        def collect(token: int) -> object:
            tokens.append(token)
            return None if on_token is None else on_token(token, prompt)

        asked = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, room))
        try:
            reason, times = self._generate(prompt[kept:], asked, collect)
        finally:
            self._note_rows(prompt, tokens)
        answer = self._coder.decode(tokens, prompt)
        if tokens:
            del self._turns[:dropped]
            self._turns.append((question, {"role": "assistant", "content": answer}))
        return Turn(answer, tokens, len(prompt), reused, dropped, reason, *times)

    def reset(self) -> None:
        """Forget everything but the system message and the adapters."""
        self._turns.clear()
        self._session.reset()
        self._held, self._ends = [], []

    def undo(self) -> bool:
        """Forget the last question and its answer. False when there is none."""
        if not self._turns:
            return False
        self._turns.pop()
        return True

    def set_adapters(self, adapters: AdapterSet = ()) -> None:
        """Let other adapters answer from the next turn on; the history stays, its rows are computed again."""
        self._session.set_adapters(adapters)
        self._ends = []

    def cancel(self) -> None:
        """End the answer that another thread is waiting for. From any thread; nothing happens when there is none."""
        with self._lock:
            if self._running:
                self._cancelled = True
                self._session.cancel()

    def _fitting(self, question: Message, max_new_tokens: int) -> tuple[list[int], int]:
        """The tokens of the conversation without its oldest turns that have no room, and how many these are."""
        context = self._session.info().context_length
        reserve = min(max_new_tokens, max(1, context // ANSWER_SHARE))
        for dropped in range(len(self._turns) + 1):
            turns = [message for turn in self._turns[dropped:] for message in turn]
            prompt = self._coder.encode_chat_prompt([*self._system, *turns, question])
            if len(prompt) + reserve <= context:
                break
        if len(prompt) >= context:
            message = f"the message has {len(prompt)} tokens with what the chat template adds, and "
            raise PocketLoraError(Status.SEQUENCE_TOO_LONG, f"{message}the context of {context} has no room for it")
        return prompt, dropped

    def _keep(self, prompt: list[int]) -> tuple[int, int]:
        """Cut the session to what `prompt` begins with; how many tokens that are, and how many rows stay."""
        # At least one token is left to compute: the answer begins with its logits.
        most = min(len(self._held), len(prompt) - 1)
        kept = next((i for i in range(most) if self._held[i] != prompt[i]), most)
        if kept < len(self._held):
            self._session.truncate(kept)
        return kept, max((end for end in self._ends if end <= kept), default=0)

    def _generate(
        self, prompt: list[int], sampling: Sampling, collect: Callable[[int], object]
    ) -> tuple[str, tuple[float, float]]:
        while True:
            with self._lock:
                self._running, self._cancelled = True, False
            try:
                done = self._session.generate(prompt, sampling, collect)
                break
            except PocketLoraError as error:
                if error.status != Status.CANCELLED:
                    raise
                # One that came too late for the last answer has ended this one before it began.
                if self._cancelled:
                    return "cancelled", (0.0, 0.0)
            finally:
                with self._lock:
                    self._running = False
        return done.stop_reason, (done.prefill_seconds, done.decode_seconds)

    def _note_rows(self, prompt: list[int], tokens: list[int]) -> None:
        """What the session holds now. The last token of an answer has no row before the next call."""
        length = len(self._session)
        self._held = [*prompt, *tokens][:length]
        ends = [end for end in self._ends if end <= length]
        self._ends = ends + list(range(len(prompt), length)) if tokens else ends
