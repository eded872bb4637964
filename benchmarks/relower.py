"""A bundle again with other limits: base.ptd is shared by a hard link, programs and manifest are made anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pocketlora_export.bundle.manifest import BASE, MANIFEST, Manifest
from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.bundle.writer import list_files, write_manifest
from pocketlora_export.families.registry import decoder_model
from pocketlora_export.lower.model import lower_model
from pocketlora_export.plan.config import open_config
from pocketlora_export.recipes import describe
from pocketlora_export.recipes.recipe import Recipe


def relower(bundle: Path, model: Path, recipe: Recipe, output: Path) -> Path:
    """Make `output` unless it is there.

    Args:
        bundle: a bundle of the same model and quantization, on the same file system.
        model: the folder that it was made from; only its config is read.
        recipe: the new limits.
        output: the new bundle.
    """
    if (output / MANIFEST).is_file():
        return output
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    os.link(bundle / BASE, output / BASE)
    write_manifest(output, _manifest(bundle, model, recipe, output))
    return output


def _manifest(bundle: Path, model: Path, recipe: Recipe, output: Path) -> Manifest:
    config, name = open_config(str(model))
    described = decoder_model(config, name)
    facts = described.facts
    quantization, limits = describe.quantization_of(recipe, facts.tie_word_embeddings), describe.limits_of(recipe)
    targets = described.modules()
    sites = described.sites(targets)
    decoder = described.decoder(quantization, targets, limits.max_seq_len)
    programs = [program for name in recipe.backends for program in lower_model(decoder, sites, limits, name, output)]
    setting = describe.memory_setting(facts, sites, limits, programs)
    entries = describe.program_entries(programs, *setting)
    old = read_manifest(bundle).manifest
    return Manifest(
        generator=old.generator,
        model=old.model,
        quantization=old.quantization,
        limits=describe.limits_entry(limits),
        adapter=describe.adapter_entry(sites, targets, recipe.max_rank),
        base=old.base,
        programs=entries,
        stages=describe.stage_entries(programs),
        memory=describe.memory_entry(programs, entries, *setting),
        tokenizer=old.tokenizer.model_copy(update={"files": [], "chat_template": None}),
        files=list_files(output, {BASE: old.base_sha256}),
    )
