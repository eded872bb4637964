"""A plan for people: tables on stdout, and the chart of its training settings."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pocketlora_export.plan.devices import Device
from pocketlora_export.plan.estimate import Estimate, Inference, Training
from pocketlora_export.plan.report import Largest, Plan, Row
from pocketlora_export.report.memory_chart import Bar, Budget, memory_chart

_WIDTH = 200
# Parts that are columns of their own; `other` takes the rest.
_TRAINING = ("arena", "block_inputs", "adapter", "gradients", "optimizer", "scratch")
_INFERENCE = ("arena", "adapter", "kv_cache", "scratch")


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.1f}"


def print_plan(plan: Plan) -> None:
    """Everything on stdout."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=_WIDTH)
    out.print(_files(plan))
    out.print(_table(plan, "training, MB", ("tokens", "batch", "rank", "optimizer", "kept as", "recompute"), _TRAINING))
    out.print(_table(plan, "inference, MB", ("context", "rank", "cache"), _INFERENCE))
    if plan.device is not None:
        out.print(_largest(plan, plan.device))
    for line in notes(plan):
        out.print(line, soft_wrap=True, markup=False)


def notes(plan: Plan) -> list[str]:
    """What the numbers are, and what they are held against."""
    threads = plan.machine.threads
    lines = [f"{threads} threads. RssAnon must fit; RssFile (base, libraries) can be dropped and read again."]
    if plan.device is not None:
        device = plan.device
        lines.append(
            f"{device.name}: {device.anonymous_mb:,.0f} MB of anonymous memory and {device.file_mb:,.0f} MB of "
            f"file-backed pages for the app, of {device.ram_mb:,.0f} MB."
        )
    return lines


def _files(plan: Plan) -> Table:
    model = plan.model
    scheme = model.quantization.linear
    title = (
        f"{model.facts.name}: {scheme.scheme}, groups of {scheme.group_size}, adapters on {', '.join(model.targets)}"
    )
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, nbytes in plan.files.items():
        table.add_row(name, f"{_mb(nbytes)} MB")
    return table


def _label(setting: Training | Inference) -> tuple[str, ...]:
    if isinstance(setting, Training):
        return (
            f"{setting.sequence:,}",
            str(setting.micro_batch),
            str(setting.rank),
            setting.optimizer,
            setting.activations,
            _recompute_text(setting),
        )
    return f"{setting.context:,}", str(setting.rank), setting.cache


def _recompute_text(setting: Training) -> str:
    """How much is recomputed; with auto, how many layers keep products: "auto: 7"."""
    return f"auto: {setting.kept_blocks}" if setting.recompute == "auto" else setting.recompute


def _cells(estimate: Estimate, parts: Sequence[str], device: Device | None) -> list[str]:
    rest = estimate.anonymous - sum(estimate.parts[part] for part in parts)
    cells = [*(_mb(estimate.parts[part]) for part in parts), _mb(rest), _mb(estimate.anonymous), _mb(estimate.file)]
    return cells if device is None else [*cells, verdict(estimate, device)]


def verdict(estimate: Estimate, device: Device) -> str:
    """Whether a setting fits, and whether the base stays in memory."""
    if not device.fits(estimate):
        return f"no, by {_mb(estimate.anonymous - device.anonymous)}"
    return "yes" if device.holds_files(estimate) else "yes, base reread"


def _table(plan: Plan, title: str, keys: Sequence[str], parts: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for key in keys:
        table.add_column(key, justify="right", no_wrap=True)
    for name in (*parts, "other", "RssAnon", "RssFile"):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True, min_width=7)
    if plan.device is not None:
        table.add_column("fits", no_wrap=True)
    rows: Sequence[Row[Training] | Row[Inference]] = plan.training if title.startswith("train") else plan.inference
    for row in rows:
        table.add_row(*_label(row.setting), *_cells(row.estimate, parts, plan.device))
    return table


def _largest(plan: Plan, device: Device) -> Table:
    title = f"the largest that fits on {device.name}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("", "setting", "largest", "RssAnon MB"):
        table.add_column(name)
    for one in plan.largest_training:
        wanted = one.wanted
        length = "" if wanted.sequence == 1 else f", {wanted.sequence:,} tokens"
        kind = f"rank {wanted.rank}, {wanted.optimizer}, {wanted.activations}, {wanted.recompute}"
        table.add_row("training", f"{kind}{length}", *_found(one))
    for other in plan.largest_inference:
        table.add_row("inference", f"rank {other.wanted.rank}, cache {other.wanted.cache}", *_found(other))
    return table


def _found(one: Largest[Training] | Largest[Inference]) -> tuple[str, str]:
    if one.found is None:
        return "nothing fits", ""
    setting = one.found.setting
    text = f"context {setting.context:,}" if isinstance(setting, Inference) else _training_text(setting)
    return text, _mb(one.found.estimate.anonymous)


def _training_text(setting: Training) -> str:
    kept = f", products of {setting.kept_blocks} layers kept" if setting.kept_blocks else ""
    return f"{setting.sequence:,} tokens × {setting.micro_batch}{kept}"


def chart_of(plan: Plan) -> str:
    """The training settings as bars, an SVG."""
    bars = [
        Bar(
            (
                f"{row.setting.sequence} × {row.setting.micro_batch}",
                f"rank {row.setting.rank}",
                row.setting.optimizer,
                *([row.setting.activations] if row.setting.activations != "fp32" else []),
                *([_recompute_text(row.setting)] if row.setting.recompute != "full" else []),
            ),
            {name.replace("_", " "): nbytes for name, nbytes in row.estimate.parts.items()},
        )
        for row in plan.training
    ]
    device = plan.device
    budget = None if device is None else Budget(f"{device.name}: {device.anonymous_mb:,.0f} MB", device.anonymous)
    return memory_chart(f"Anonymous memory in training, {plan.model.facts.name}", bars, budget)
