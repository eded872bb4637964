"""Stages of a decoder as graphs: named inputs, parts to build them from, capture of forward and backward."""
