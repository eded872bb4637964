"""Builds the small language model that the offline demo uses."""
