"""Keeps the import-time chatter of torch, torchao and executorch away from the person at the terminal."""

from __future__ import annotations

import logging
import warnings

# torchao lists GPU libraries that a CPU machine cannot load; torch announces deprecations of calls that torchao makes.
_CHATTY = ("torchao", "torch.utils._pytree")


def quiet_imports() -> None:
    """Call before the first import of torch. Errors still get through."""
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
