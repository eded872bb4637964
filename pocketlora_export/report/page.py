"""The demo's page: one HTML file without outside resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pocketlora_export.report.chart import Series, line_chart
from pocketlora_export.report.demo_result import AdapterResult, DemoResult, Sample


def megabytes(count: int) -> str:
    """Bytes in MB with a digit."""
    return f"{count / 1e6:.1f} MB"


def write_page(result: DemoResult, path: Path) -> None:
    """Write the page; it appears under its name only when it is complete."""
    environment = Environment(
        loader=PackageLoader("pocketlora_export.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["megabytes"] = megabytes
    html = environment.get_template("page.html.j2").render(_context(result))
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(html, encoding="utf-8")
    fresh.replace(path)


def _context(result: DemoResult) -> dict[str, Any]:
    return {
        "r": result,
        "charts": [(adapter, loss_chart(adapter)) for adapter in result.adapters],
        "rows": _by_prompt(result.samples),
    }


def loss_chart(adapter: AdapterResult) -> str:
    """Training and held-out loss over the steps."""
    series = [
        Series("training", adapter.curve.train, "train"),
        Series("held-out", adapter.curve.held_out, "held-out", markers=True),
    ]
    title = f"Loss of the adapter {adapter.name} over {adapter.steps} steps"
    return line_chart(title, series, x_label="optimizer step", y_label="loss (nats per token)")


def _by_prompt(samples: list[Sample]) -> list[tuple[str, list[Sample]]]:
    prompts = list(dict.fromkeys(sample.prompt for sample in samples))
    return [(prompt, [sample for sample in samples if sample.prompt == prompt]) for prompt in prompts]
