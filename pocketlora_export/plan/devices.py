"""Devices: how much memory an app may take. Profiles are YAML files, some of which come with the project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pocketlora_export.errors import PocketLoraError, Status, raise_all
from pocketlora_export.plan.estimate import Estimate

Megabytes = Annotated[float, Field(gt=0)]
_MB = 1_000_000


class VulkanLimits(BaseModel):
    """Limits of the device's GPU, by their names in Vulkan; by default what the specification guarantees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_storage_buffer_range: Annotated[int, Field(ge=1 << 27)] = 1 << 27
    max_image_dimension_3d: Annotated[int, Field(ge=256)] = 256


class Device(BaseModel):
    """A device: its memory, what an app's anonymous memory and file-backed pages may take of it, and its cores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    ram_mb: Megabytes
    anonymous_mb: Megabytes
    file_mb: Megabytes
    threads: Annotated[int, Field(ge=1, le=256)]
    vulkan: VulkanLimits = VulkanLimits()

    @property
    def anonymous(self) -> int:
        """Bytes of anonymous memory."""
        return int(self.anonymous_mb * _MB)

    @property
    def file(self) -> int:
        """Bytes of file-backed pages."""
        return int(self.file_mb * _MB)

    def fits(self, estimate: Estimate) -> bool:
        """Whether the anonymous memory fits: only that fails where there is too little."""
        return estimate.anonymous <= self.anonymous

    def holds_files(self, estimate: Estimate) -> bool:
        """Whether the base can stay in memory; otherwise its pages are read again in every step."""
        return estimate.file <= self.file


def device_folder() -> Path:
    """Where the profiles lie: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs" / "devices"
    return inside if inside.is_dir() else package.parent / "configs" / "devices"


def device_names() -> list[str]:
    """Names of the profiles that come with the project."""
    return sorted(path.stem for path in device_folder().glob("*.yaml"))


def load_device(name: str) -> Device:
    """A profile by its name, or from a YAML file.

    Raises:
        PocketLoraError: INPUT_MISSING when there is neither; INPUT_MALFORMED with everything that is wrong in the file.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        path = device_folder() / f"{name}.yaml"
        if Path(name).name != name or not path.is_file():
            message = f"{name}: no such device file, and not a known device ({', '.join(device_names())})"
            raise PocketLoraError(Status.INPUT_MISSING, message)
    return _read(path)


def _read(path: Path) -> Device:
    try:
        values: Any = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        message = f"{path}: expected keys and values, found {type(values).__name__}"
        raise PocketLoraError(Status.INPUT_MALFORMED, message)
    try:
        device = Device.model_validate(values)
    except ValidationError as error:
        problems = [_explain(e) for e in error.errors()]
        raise PocketLoraError(
            Status.INPUT_MALFORMED, "\n".join([f"{path}: the device is not valid:", *(f"  - {p}" for p in problems)])
        ) from error
    _check(path, device)
    return device


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; known: {', '.join(Device.model_fields)}"
    if error["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {error['msg']}, found {error['input']!r}"


def _check(path: Path, device: Device) -> None:
    budgets = {"anonymous_mb": device.anonymous_mb, "file_mb": device.file_mb}
    problems = [
        f"{key}: {mb:g} is more than ram_mb {device.ram_mb:g}" for key, mb in budgets.items() if mb > device.ram_mb
    ]
    raise_all(Status.INPUT_MALFORMED, f"{path}: the device is not valid:", problems)
