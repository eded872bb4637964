"""The manifest's one schema (docs/manifest.md); the JSON Schema in docs/ is generated from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_MAJOR = 2
SCHEMA_VERSION = f"{SCHEMA_MAJOR}.0"
MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"
BASE = "base.ptd"
SELF_TEST = "self_test.json"

Symbol = Literal["N", "S1", "C", "K", "R"]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Dim = Count | Symbol
DType = Literal["float32", "int64", "uint8"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# No part of a path begins with a dot, so none can leave the bundle.
RelativePath = Annotated[str, Field(pattern=r"^[\w-][\w. -]*(/[\w-][\w. -]*)*$")]


class _Model(BaseModel):
    # A newer minor version may add keys; they are kept out of the way.
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Rope(_Model):
    """A rotary table that `embed` makes: its name, columns (entries of a head that it rotates), base, scaling."""

    name: str
    dim: Positive
    theta: float
    scaling: dict[str, Any] | None


class Model(_Model):
    """Facts of the decoder. `sliding_window`: of those layers that have one."""

    family: str
    architecture: str
    name: str
    source_dtype: str
    num_parameters: Positive
    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    num_kv_heads: Positive
    head_dim: Positive
    vocab_size: Positive
    max_position_embeddings: Positive
    norm_eps: float
    rope: list[Rope]
    sliding_window: Positive | None
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_ids: list[int]
    pad_token_id: int | None


class RoleQuantization(_Model):
    """How the embedding or the head is stored."""

    scheme: Literal["nf4", "int4"]
    group_size: Positive
    bits: Literal[4] = 4


class Quantization(_Model):
    """How the linear layers are stored, and the ends."""

    scheme: Literal["nf4", "int4"]
    group_size: Positive
    scale_dtype: Literal["float16"] = "float16"
    layout: Literal["tile16x128"] = "tile16x128"
    embedding: RoleQuantization
    head: RoleQuantization


class Limits(_Model):
    """Bounds of the dynamic dimensions."""

    max_seq_len: Positive
    train_t_min: Positive
    train_t_max: Positive
    prefill_t_min: Positive
    prefill_t_max: Positive
    max_rank: Positive
    max_segments: Positive


class Site(_Model):
    """A linear layer that can carry an adapter."""

    name: str
    layer: Count
    module: str
    in_features: Positive
    out_features: Positive


class Adapter(_Model):
    """What adapters may look like."""

    target_modules: list[str]
    max_rank: Positive
    sites: list[Site]


class Q4Tensor(_Model):
    """A quantized matrix of base.ptd."""

    name: str
    kind: Literal["q4"] = "q4"
    dtype: Literal["uint8"] = "uint8"
    shape: list[Positive]
    nbytes: Positive
    rows: Positive
    cols: Positive
    scheme: Literal["nf4", "int4"]
    group_size: Positive


class DenseTensor(_Model):
    """A tensor of base.ptd in fp32."""

    name: str
    kind: Literal["dense"] = "dense"
    dtype: Literal["float32"] = "float32"
    shape: list[Positive]
    nbytes: Positive


BaseTensor = Annotated[Q4Tensor | DenseTensor, Field(discriminator="kind")]


class Base(_Model):
    """base.ptd. Its first `table_bytes` bytes are its header and its table of tensors, checked on every opening."""

    file: RelativePath = BASE
    table_bytes: Positive
    table_sha256: Sha256
    tensors: list[BaseTensor]


class Input(_Model):
    """An input of a method."""

    name: str
    source: Literal["runtime", "weight", "adapter"]
    dtype: DType
    shape: list[Dim]


class Output(_Model):
    """An output of a method."""

    name: str
    dtype: DType
    shape: list[Dim]


class Method(_Model):
    """A stage as lowered."""

    name: str
    t_min: Positive
    t_max: Positive
    arena_bytes: Count
    inputs: list[Input]
    outputs: list[Output]


class MemoryRow(_Model):
    """What a program takes when no call has more than `rows` rows, in bytes: the touched part of its arena, scratch.

    Scratch is at max_rank: `scratch` + threads · `scratch_per_thread`.
    """

    rows: Positive
    arena: Count
    scratch: Count
    scratch_per_thread: Count


class Program(_Model):
    """One .pte file. `delegates` that must be there to run it; `memory_rows` end at train_t_max or prefill_t_max.

    `constants`: the file of its delegates' constants; null where weights are inputs. A program with constants has one
    method for each layer, sizes that are fixed at the limits, and no weight inputs.
    """

    backend: str
    kind: Literal["train", "infer"]
    file: RelativePath
    delegates: list[str]
    constants: RelativePath | None = None
    methods: list[Method]
    memory_rows: Annotated[list[MemoryRow], Field(min_length=1)]


class End(_Model):
    """The method of an end and the base tensors bound to its weight inputs."""

    method: str
    weights: dict[str, str]


class BlockStages(_Model):
    """What to call for one layer, and what to bind. `window`: keys that a token sees at most, itself included.

    `methods` by role: forward and backward, and maybe forward_keep and backward_kept, which pass products from one to
    the other; or prefill and decode, and maybe keys, with which a prefill computes of the last layer what it needs.
    """

    layer: Count
    methods: dict[str, str]
    weights: dict[str, str]
    sites: dict[str, str]
    window: Positive | None


class Stages(_Model):
    """How the runtime walks one program."""

    backend: str
    kind: Literal["train", "infer"]
    embed: End
    blocks: list[BlockStages]
    head: End


class Memory(_Model):
    """Estimate at train_t_max, max_rank and max_seq_len for the backend listed first; bytes by part."""

    arena_train: Count
    arena_infer: Count
    block_inputs: Count
    adapter: Count
    gradients: Count
    optimizer: Count
    kv_cache: Count
    scratch: Count
    other: Count


class Golden(_Model):
    """A text and the ids that the tokenizer must give."""

    text: str
    ids: list[Count]


class Tokenizer(_Model):
    """Tokenizer files, and what an independent implementation is checked against."""

    files: list[RelativePath]
    chat_template: RelativePath | None
    add_bos: bool
    goldens: list[Golden]


class File(_Model):
    """A file of the bundle."""

    path: RelativePath
    size: Count
    sha256: Sha256


class Manifest(_Model):
    """manifest.json."""

    schema_version: Annotated[str, Field(pattern=r"^\d+\.\d+$")] = SCHEMA_VERSION
    generator: dict[str, str]
    model: Model
    quantization: Quantization
    limits: Limits
    adapter: Adapter
    base: Base
    programs: list[Program]
    stages: list[Stages]
    memory: Memory
    tokenizer: Tokenizer
    files: list[File]

    def file(self, path: str) -> File | None:
        """The entry of a file, None when it is not listed."""
        return next((f for f in self.files if f.path == path), None)

    @property
    def base_sha256(self) -> str:
        """Identity of the base: the SHA-256 of its file."""
        entry = self.file(self.base.file)
        if entry is None:
            raise KeyError(self.base.file)
        return entry.sha256
