"""Lowering to ExecuTorch: one file per backend, and the description of what was lowered."""
