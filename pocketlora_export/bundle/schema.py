"""`python -m pocketlora_export.bundle.schema`: write docs/manifest.schema.json from the pydantic models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pocketlora_export.bundle.manifest import SCHEMA_VERSION, Manifest

DEFAULT_PATH = Path(__file__).resolve().parents[2] / "docs" / "manifest.schema.json"


def schema_text() -> str:
    """The JSON Schema of the manifest, as the file holds it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(),
        "title": f"PocketLoRA manifest {SCHEMA_VERSION}",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the schema to the path given, or to docs/."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PATH
    path.write_text(schema_text(), "utf-8")


if __name__ == "__main__":
    main()
