"""What a bundle is to be: the recipe, its defaults, YAML presets, and options on top."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pocketlora_export.errors import PocketLoraError, Status, raise_all
from pocketlora_export.q4 import GROUP_SIZES

Positive = Annotated[int, Field(ge=1)]
# Those of lower/registry.py, repeated so that options are checked without PyTorch.
BackendName = Literal["cpu", "xnnpack", "vulkan"]
DEFAULT_GROUP = {"nf4": 64, "int4": 32}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quant(_Strict):
    """A 4-bit scheme; `group_size` null = 64 for nf4, 32 for int4."""

    scheme: Literal["nf4", "int4"] = "nf4"
    group_size: Positive | None = None

    @property
    def group(self) -> int:
        """The group size, default resolved."""
        return self.group_size or DEFAULT_GROUP[self.scheme]


class ModelQuant(Quant):
    """Scheme of the linear layers; `embedding` and `head` null = the same. A tied head is the embedding."""

    embedding: Quant | None = None
    head: Quant | None = None


class Recipe(_Strict):
    """How to make a bundle."""

    quant: ModelQuant = ModelQuant()
    backends: Annotated[list[BackendName], Field(min_length=1)] = ["cpu"]
    max_seq_len: Annotated[int, Field(ge=2)] = 512
    train_seq_len: Annotated[int, Field(ge=2)] = 256
    prefill_seq_len: Annotated[int, Field(ge=2)] | None = None
    max_rank: Positive = 16
    max_segments: Positive = 64
    target_modules: list[str] | None = None
    vulkan_fp16: bool = False
    vulkan_device: str | None = None

    @property
    def prefill_t_max(self) -> int:
        """Rows of one prefill call: 256 unless told, never more than the context."""
        return min(self.prefill_seq_len or 256, self.max_seq_len)


def preset_folder() -> Path:
    """Where the presets lie: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def preset_names() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of a preset.

    Raises:
        PocketLoraError: INPUT_MISSING when there is neither; the presets are listed.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    preset = preset_folder() / f"{name}.yaml"
    if Path(name).name == name and preset.is_file():
        return preset
    raise PocketLoraError(
        Status.INPUT_MISSING, f"{name}: no such recipe file, and not a preset ({', '.join(preset_names())})"
    )


def read_recipe(path: Path) -> dict[str, Any]:
    """Values of a YAML recipe, checked by themselves so that messages name the file.

    Raises:
        PocketLoraError: INPUT_MALFORMED with every unknown key and bad value.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not YAML: {error}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise PocketLoraError(
            Status.INPUT_MALFORMED, f"{path}: expected keys and values, found {type(values).__name__}"
        )
    _validate(values, str(path), Status.INPUT_MALFORMED)
    return values


def _known_keys(location: tuple[int | str, ...]) -> str:
    fields: Any = Recipe.model_fields
    if location[:1] == ("quant",):
        fields = ModelQuant.model_fields if len(location) == 1 else Quant.model_fields
    return ", ".join(fields)


def _explain(error: Any) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; known here: {_known_keys(location[:-1])}"
    return f"{key}: {error['msg']}, found {error['input']!r}"


def _validate(values: Mapping[str, Any], where: str, status: Status) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems = [_explain(e) for e in error.errors()]
    else:
        problems = _group_problems(recipe) + _backend_problems(recipe)
        if not problems:
            return recipe
    raise PocketLoraError(status, "\n".join([f"{where}: the recipe is not valid:", *(f"  - {p}" for p in problems)]))


def _group_problems(recipe: Recipe) -> list[str]:
    quants = {"quant": recipe.quant, "quant.embedding": recipe.quant.embedding, "quant.head": recipe.quant.head}
    return [
        f"{key}.group_size: {quant.scheme} takes {', '.join(map(str, GROUP_SIZES[quant.scheme]))}, found {quant.group}"
        for key, quant in quants.items()
        if quant is not None and quant.group not in GROUP_SIZES[quant.scheme]
    ]


def _backend_problems(recipe: Recipe) -> list[str]:
    repeated = sorted({name for name in recipe.backends if recipe.backends.count(name) > 1})
    return [f"backends: {name} is named twice" for name in repeated]


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def load_recipe(name: str | None, options: Mapping[str, Any]) -> Recipe:
    """Defaults, then the YAML file or preset, then the options given on the command line.

    Args:
        name: file or preset; None = defaults.
        options: nested values as in a recipe; only those that were given. A scheme without a group size
            also drops the file's group size, which belongs to the file's scheme.

    Raises:
        PocketLoraError: INPUT_MISSING, INPUT_MALFORMED (the file) or INVALID_ARGUMENT (the options).
    """
    values = read_recipe(find_recipe(name)) if name is not None else {}
    quant = options.get("quant", {})
    if "scheme" in quant and "group_size" not in quant:
        options = _merge(options, {"quant": {"group_size": None}})
    return _validate(_merge(values, options), "options", Status.INVALID_ARGUMENT)


def choose_targets(
    recipe: Recipe, modules: tuple[str, ...], presets: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[str, ...]:
    """Target modules in layer order; all of them when the recipe names none.

    Args:
        recipe: names modules and presets.
        modules: those of the model, in layer order.
        presets: names that stand for several modules.

    Raises:
        PocketLoraError: UNKNOWN_TARGET_MODULE listing every unknown name and the valid ones.
    """
    presets, named = presets or {}, recipe.target_modules
    wanted = list(modules) if named is None else [word for name in named for word in presets.get(name, (name,))]
    valid = f"valid: {', '.join((*modules, *presets))}"
    unknown = [f"{name!r}; {valid}" for name in wanted if name not in modules]
    raise_all(Status.UNKNOWN_TARGET_MODULE, "target_modules: unknown module:", unknown)
    raise_all(Status.UNKNOWN_TARGET_MODULE, "target_modules:", [] if wanted else [f"empty; {valid}"])
    return tuple(name for name in modules if name in wanted)
