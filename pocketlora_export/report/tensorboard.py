"""Metrics of a training for TensorBoard, written by the tensorboard package itself: an optional dependency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pocketlora_export.errors import PocketLoraError, Status

if TYPE_CHECKING:
    from typing_extensions import Self

MISSING = "TensorBoard's files are written by the tensorboard package: pip install 'pocketlora-export[tensorboard]'"
# What an event says of itself rather than of the model.
_BOOKKEEPING = {"v", "event", "time", "step", "steps", "seconds_left", "best_step", "improved"}
_GROUPS = {"progress": "train", "validation": "held_out"}


class TensorBoardWriter:
    """Turns `progress` and `validation` events (docs/events.md) into scalars: train/loss, held_out/perplexity, ..."""

    def __init__(self, folder: Path) -> None:
        """Begin a file of events in `folder`. BACKEND_MISSING without the tensorboard package."""
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise PocketLoraError(Status.BACKEND_MISSING, MISSING) from None
        self._events, self._summaries = event_pb2, summary_pb2
        self._writer = EventFileWriter(str(folder))

    def add(self, event: Mapping[str, Any]) -> None:
        """One event; numbers that are not finite are None and left out, and so is any other kind of event."""
        group = _GROUPS.get(event["event"])
        if group is None:
            return
        numbers = {key: value for key, value in event.items() if key not in _BOOKKEEPING and _is_number(value)}
        scalars = [self._summaries.Summary.Value(tag=f"{group}/{key}", simple_value=n) for key, n in numbers.items()]
        summary = self._summaries.Summary(value=scalars)
        self._writer.add_event(self._events.Event(wall_time=event["time"], step=event["step"], summary=summary))

    def restart(self, step: int) -> None:
        """Training goes on with this step: what an earlier file in the folder has from there on was given up."""
        status = self._events.SessionLog(status=self._events.SessionLog.START)
        self._writer.add_event(self._events.Event(step=step, session_log=status))

    def add_all(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Several events; how many of them have scalars."""
        taken = 0
        for event in events:
            self.add(event)
            taken += event["event"] in _GROUPS
        return taken

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
