"""Values of a checkpoint's tensors, as PyTorch tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from pocketlora_export.bundle.checkpoint import TensorEntry

DTYPES: dict[str, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPE_NAMES: dict[str, str] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def read_rows(entry: TensorEntry, begin: int, end: int) -> Tensor:
    """Rows [begin, end) of the first dimension as fp32.

    Raises:
        OSError: when the file cannot be read or ends early.
    """
    row_bytes = entry.nbytes // entry.shape[0]
    raw = torch.frombuffer(entry.read(begin * row_bytes, (end - begin) * row_bytes), dtype=DTYPES[entry.dtype])
    return raw.view(end - begin, *entry.shape[1:]).float()
