"""Runs that are worth a page, and the pages."""

from __future__ import annotations
