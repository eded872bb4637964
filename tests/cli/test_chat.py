"""`chat` and Conversation: only what is new is computed, and the answers are those of a fresh session."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pocketlora_export.cli import chat_loop
from pocketlora_export.cli.chat_loop import ChatLoop
from pocketlora_export.cli.main import cli
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.plain_chat import PlainChat
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine, Sampling, Session
from pocketlora_export.runtime.conversation import Conversation
from tests.support.bundles import Bundled

QUESTIONS = ("a", "b", "c")
# No stop token: every answer has as many tokens as are asked for. (The context is short: a byte is a token.)
HOW = Sampling(3, stop_tokens=())


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundled) -> Iterator[Engine]:
    with Engine(tiny_bundle.bundle, num_threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def coder(tiny_bundle: Bundled, engine: Engine) -> TextCoder:
    return TextCoder.from_bundle(tiny_bundle.bundle, engine.facts.manifest)


class Watched(Session):
    """A session that remembers what it was given to compute."""

    given: list[list[int]]

    def generate(self, prompt: Any, *arguments: Any) -> Any:
        self.given = [*getattr(self, "given", []), list(prompt)]
        return super().generate(prompt, *arguments)


def test_only_what_a_turn_adds_is_computed_and_answers_are_a_fresh_session_s(engine: Engine, coder: TextCoder) -> None:
    session = Watched(engine, compute="fp32")
    chat = Conversation(session, coder)
    turns = [chat.ask(question, HOW) for question in QUESTIONS]
    assert turns[0].reused_tokens == 0
    for before, after, given in zip(turns, turns[1:], session.given[1:], strict=False):
        # All of the earlier conversation but the tokens that its text is not spelled with again.
        assert after.reused_tokens >= before.prompt_tokens
        assert len(given) <= after.prompt_tokens - before.prompt_tokens
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 3

    # Everything in one go: the same tokens.
    for turn, count in zip(turns, range(1, 4), strict=True):
        prompt = coder.encode_chat_prompt(chat.messages[: 2 * count - 1])
        assert len(prompt) == turn.prompt_tokens
        with Session(engine, compute="fp32") as fresh:
            assert fresh.generate(prompt, HOW).tokens == turn.tokens

    # The same calls: the same rows, bit for bit.
    with Session(engine, compute="fp32") as fresh:
        for given, turn in zip(session.given, turns, strict=True):
            kept = turn.prompt_tokens - len(given)
            fresh.truncate(kept)
            assert fresh.generate(given, HOW).tokens == turn.tokens
        expected = fresh.prefill([7, 8, 9])
    assert session.prefill([7, 8, 9]).tobytes() == expected.tobytes()


def test_undo_reset_and_adapters(engine: Engine, coder: TextCoder, trained: Path) -> None:
    with Session(engine, compute="fp32") as session, engine.load_adapter(trained) as adapter:
        chat = Conversation(session, coder)
        assert not chat.undo()
        first = chat.ask("hi", HOW)
        second = chat.ask("why?", HOW)
        assert chat.undo()
        again = chat.ask("why?", HOW)
        assert again.tokens == second.tokens
        assert again.reused_tokens >= first.prompt_tokens
        chat.set_adapters([adapter])
        chat.undo()
        adapted = chat.ask("why?", HOW)
        assert adapted.reused_tokens == 0
        assert adapted.prompt_tokens == second.prompt_tokens
        with Session(engine, compute="fp32") as fresh:
            fresh.set_adapters([adapter])
            prompt = coder.encode_chat_prompt(chat.messages[:3])
            assert fresh.generate(prompt, HOW).tokens == adapted.tokens
        chat.reset()
        chat.set_adapters()
        assert chat.messages == []
        begun = chat.ask("hi", HOW)
        assert (begun.tokens, begun.reused_tokens) == (first.tokens, 0)


def test_a_full_context_drops_the_oldest_turns(engine: Engine, coder: TextCoder) -> None:
    with Session(engine, context_length=60, compute="fp32") as session:
        chat = Conversation(session, coder, "s")
        dropped = [chat.ask(f"question {number}", HOW).dropped_turns for number in range(4)]
        assert dropped[0] == 0
        assert sum(dropped) > 0
        assert chat.num_turns == 4 - sum(dropped)
        assert chat.messages[0] == {"role": "system", "content": "s"}
        assert chat.messages[-2]["content"] == "question 3"
        before = chat.messages
        with pytest.raises(PocketLoraError, match="the context of 60 has no room") as caught:
            chat.ask("far too long " * 20, HOW)
        assert caught.value.status == Status.SEQUENCE_TOO_LONG
        assert chat.messages == before


def test_cancelling_ends_an_answer_and_the_next_one_is_whole(engine: Engine, coder: TextCoder) -> None:
    with Session(engine, compute="fp32") as session:
        chat = Conversation(session, coder)
        chat.cancel()  # nobody waits for an answer: nothing happens
        expected = chat.ask("hi", HOW)
        chat.undo()
        told: list[int] = []

        def cancel(token: int, _prompt: object) -> None:
            told.append(token)
            if len(told) == 2:
                other = threading.Thread(target=chat.cancel)
                other.start()
                other.join()

        turn = chat.ask("hi", HOW, cancel)
        assert turn.stop_reason == "cancelled"
        assert turn.tokens == told == expected.tokens[:2]
        assert chat.messages[-1]["content"] == turn.text
        chat.undo()
        # One that came when the answer had just ended must not end the next one.
        session.cancel()
        assert chat.ask("hi", HOW).tokens == expected.tokens


def test_an_exception_of_the_listener_leaves_a_conversation_that_goes_on(engine: Engine, coder: TextCoder) -> None:
    with Session(engine, compute="fp32") as session:
        chat = Conversation(session, coder)
        expected = chat.ask("hi", HOW).tokens
        chat.reset()

        def fail(_token: int, _prompt: object) -> None:
            raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            chat.ask("hi", HOW, fail)
        assert chat.messages == []
        assert chat.ask("hi", HOW).tokens == expected


def test_plain_texts_follow_each_other(engine: Engine, coder: TextCoder) -> None:
    with Session(engine) as session:
        chat = Conversation(session, PlainChat(coder))
        first = chat.ask("once", HOW)
        chat.ask("then", HOW)
        assert coder.encode_prompt(f"once\n{first.text}\nthen\n") == PlainChat(coder).encode_chat_prompt(
            chat.messages[:3]
        )


def talk(bundle: Path, said: str | bytes, *options: object) -> Result:
    arguments = ["chat", str(bundle), "--threads", "1", "--max-new-tokens", "5", *map(str, options)]
    return CliRunner().invoke(cli, arguments, input=said, prog_name="pocketlora-export")


def test_a_pipe_gets_an_object_a_turn(tiny_bundle: Bundled, trained: Path) -> None:
    said = "hi\n\nwhy?\n/undo\nwhy?\n/reset\nhi\n/adapter\n"
    result = talk(tiny_bundle.bundle, said, "--json", "--system", "s", "--adapter", trained, "--compute", "fp32")
    assert result.exit_code == 0, result.output
    turns = [json.loads(line) for line in result.stdout.splitlines()]
    assert [turn["message"] for turn in turns] == ["hi", "why?", "why?", "hi"]
    assert turns[1]["token_ids"] == turns[2]["token_ids"]
    assert turns[0]["token_ids"] == turns[3]["token_ids"]
    assert turns[1]["reused_tokens"] > 0
    assert "the base answers from now on" in result.stderr


def test_text_is_streamed_to_stdout_and_the_rest_to_stderr(tiny_bundle: Bundled) -> None:
    as_json = json.loads(talk(tiny_bundle.bundle, "hi\n", "--json").stdout)
    result = talk(tiny_bundle.bundle, "hi\n/help\n/exit\nnot asked\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == as_json["text"] + "\n"
    assert "/undo" in result.stderr
    assert "new at" in result.stderr


@pytest.mark.parametrize(
    ("said", "exit_code", "message"),
    [
        ("/nonsense\n", 2, "unknown command /nonsense; expected one of /reset"),
        ("/adapter nowhere\n", 5, "nowhere"),
        ("x" * 500 + "\n", 2, "no room for it"),
        (b"h\xffi\n", 2, "0xff at byte 2"),
    ],
)
def test_the_first_problem_ends_a_pipe(tiny_bundle: Bundled, said: str | bytes, exit_code: int, message: str) -> None:
    result = talk(tiny_bundle.bundle, said, "--json")
    assert result.exit_code == exit_code, result.output
    assert message in result.stderr.replace("\n", "")
    assert json.loads(result.stdout.splitlines()[-1])["event"] == "error"


def test_without_a_template_plain_is_named(tiny_bundle: Bundled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextCoder, "has_chat_template", property(lambda _self: False))
    result = talk(tiny_bundle.bundle, "hi\n")
    assert result.exit_code == 3
    assert "no chat template; --plain" in result.stderr
    assert talk(tiny_bundle.bundle, "hi\n", "--plain").exit_code == 0


def test_ctrl_c_ends_the_answer_and_not_the_program(
    engine: Engine, coder: TextCoder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Session(engine, compute="fp32") as session:
        chat = Conversation(session, coder)
        expected = [chat.ask(question, HOW).tokens for question in ("hi", "why?")]
        chat.reset()
        told: list[int] = []
        cancelled = threading.Event()

        def cancel() -> None:
            Conversation.cancel(chat)
            cancelled.set()

        def interrupt(_writer: object, token: int, _prompt: object) -> None:
            told.append(token)
            if len(told) == 2:
                os.kill(os.getpid(), signal.SIGINT)
                assert cancelled.wait(60)

        monkeypatch.setattr(chat, "cancel", cancel)
        monkeypatch.setattr(chat_loop._Writer, "push", interrupt)
        loop = ChatLoop(chat, coder.tokenizer, HOW, lambda _: None, as_json=True, interactive=False)
        loop.run(iter(["hi", "/undo", "hi", "why?"]))
    turns = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [turn["stop_reason"] for turn in turns] == ["cancelled", "length", "length"]
    assert turns[0]["token_ids"] == expected[0][:2]
    assert [turn["token_ids"] for turn in turns[1:]] == expected
