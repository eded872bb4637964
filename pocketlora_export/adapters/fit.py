"""Whether an adapter fits a bundle: every mismatch at once, without the runtime."""

from __future__ import annotations

from pathlib import Path

from pocketlora_export.adapters.lora import LoraAdapter, LoraSite
from pocketlora_export.adapters.lora_config import LoraConfig
from pocketlora_export.bundle.manifest import Manifest, Site
from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.errors import PocketLoraError, Status, raise_all


def check_fit(adapter: LoraAdapter, bundle: Path, config: LoraConfig | None = None) -> None:
    """Compare names, shapes and ranks with a bundle's, and the base's hash where the adapter has one.

    Args:
        adapter: the adapter.
        bundle: the bundle's folder.
        config: what the adapter says of its targets, where its format says more than the tensors do.

    Raises:
        PocketLoraError: ADAPTER_OTHER_BASE, or ADAPTER_MISMATCH with every mismatch.
    """
    manifest = read_manifest(bundle).manifest
    if adapter.base_sha256 not in (None, manifest.base_sha256):
        expected, found = manifest.base_sha256, adapter.base_sha256
        message = f"the adapter was trained over another base: expected {expected}, found {found}"
        raise PocketLoraError(Status.ADAPTER_OTHER_BASE, message)
    raise_all(Status.ADAPTER_MISMATCH, f"the adapter does not fit {bundle}:", _problems(adapter, manifest, config))


def _problems(adapter: LoraAdapter, manifest: Manifest, config: LoraConfig | None) -> list[str]:
    places = {site.name: site for site in manifest.adapter.sites}
    problems = []
    for name, site in adapter.sites.items():
        if name not in places:
            problems.append(f"{name}: the bundle adapts no such layer")
        else:
            problems += _site_problems(name, site, places[name], manifest.adapter.max_rank)
    missing = [name for name in places if name not in adapter.sites and config is not None and config.is_target(name)]
    return problems + [f"{name}: no tensors, though the config names it as a target" for name in missing]


def _site_problems(name: str, site: LoraSite, place: Site, max_rank: int) -> list[str]:
    problems = []
    if site.a.shape[1] != place.in_features:
        problems.append(f"{name}: A: expected {place.in_features} columns, found {site.a.shape[1]}")
    if site.b.shape[0] != place.out_features:
        problems.append(f"{name}: B: expected {place.out_features} rows, found {site.b.shape[0]}")
    if site.rank > max_rank:
        problems.append(f"{name}: rank: expected at most {max_rank}, found {site.rank}")
    return problems
