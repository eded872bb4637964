"""`adapter inspect`: what an adapter holds."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from pocketlora_export.adapters.lora import LoraSite
from pocketlora_export.adapters.products import norm_of
from pocketlora_export.cli import console
from pocketlora_export.cli.adapter_io import facts, read_folder
from pocketlora_export.cli.options import PATH


@click.command(
    epilog="\b\nExamples:\n"
    "  pocketlora-export adapter inspect out/adapter\n"
    "  pocketlora-export adapter inspect out/adapter --json | jq '.sites | max_by(.norm)'\n\n"
    "A norm is the Frobenius norm of B·A; what is added to the weights is scale times that."
)
@click.argument("adapter", type=PATH)
@console.json_option("Print one JSON object.")
def command(adapter: Path, as_json: bool) -> None:
    """Show rank, alpha, modules, parameters, the base and the norms of ADAPTER, a folder of PEFT or MLX-LM."""
    found = read_folder(adapter)
    summary = facts(found)
    sites = [_site(name, site) for name, site in found.adapter.sites.items()]
    if as_json:
        console.print_json({"adapter": str(adapter), **summary, "sites": sites})
        return
    out = console.stdout()
    out.print(_summary(adapter, summary))
    out.print(_sites(sites))


def _site(name: str, site: LoraSite) -> dict[str, object]:
    return {
        "module": name,
        "rank": site.rank,
        "alpha": site.alpha,
        "scale": site.scale,
        "in_features": site.a.shape[1],
        "out_features": site.b.shape[0],
        "parameters": site.num_parameters,
        "norm": norm_of(site),
    }


def _summary(adapter: Path, summary: dict[str, object]) -> Table:
    table = Table(title=f"adapter: {adapter}", title_justify="left", title_style="bold", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in summary.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else "unknown" if value is None else str(value)
        table.add_row(key.replace("_", " "), text)
    return table


def _sites(sites: list[dict[str, object]]) -> Table:
    table = Table(title="modules", title_justify="left", title_style="bold")
    for column in ("module", "shape", "rank", "scale", "norm of B·A"):
        table.add_column(column, no_wrap=column == "module")
    for site in sites:
        shape = f"{site['out_features']} × {site['in_features']}"
        cells = (site["module"], shape, site["rank"], f"{site['scale']:.6g}", f"{site['norm']:.6g}")
        table.add_row(*map(str, cells))
    return table
