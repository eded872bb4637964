"""What the kernel says of this process's memory. Imports nothing that would change it."""

from __future__ import annotations

from pathlib import Path

_FIELDS = {"RssAnon": "rss_anon", "RssFile": "rss_file", "VmHWM": "peak_rss"}


def process_memory() -> dict[str, int]:
    """Bytes: anonymous and file-backed pages resident now, and the largest sum of both so far."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in _FIELDS:
            found[_FIELDS[name]] = int(value.split()[0]) * 1024
    return found
