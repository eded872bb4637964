"""`python -m pocketlora_export`: the same as the console script `pocketlora-export`."""

from __future__ import annotations

from pocketlora_export.cli.main import main

if __name__ == "__main__":
    main()
