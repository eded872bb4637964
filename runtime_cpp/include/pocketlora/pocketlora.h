/**
 * PocketLoRA C API: fine-tune and run a language model from one memory-mapped 4-bit base.
 *
 * - Ownership: every handle returned through an `out` argument belongs to the caller and is released by its
 *   `_close`/`_free` function. An adapter, a session or a trainer keeps its engine alive; handles may be released in
 *   any order.
 * - Errors: every function that can fail returns a pl_status. pl_last_error() gives the message of the calling thread's
 *   last failure. An `out` argument is only written on success.
 * - Threads: an engine may be used from several threads. A session and a trainer may each be used by one thread at a
 *   time, but for the functions that say otherwise. An adapter is immutable once loaded and may be shared.
 * - Growth: public structs start with `struct_size` = sizeof(the struct as the caller compiled it); initialise options
 *   with their `pl_…_init` function, which gives the library that size. Fields are only ever appended.
 * - Memory: buffers are reserved when a handle is made and their failure is PL_OUT_OF_MEMORY. The kernels' scratch
 * grows during a call; where the system has none left for it, or for a small object, the process ends with a message.
 */
#ifndef POCKETLORA_POCKETLORA_H_
#define POCKETLORA_POCKETLORA_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define PL_API __declspec(dllexport)
#else
#define PL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Bumped when a caller compiled against an older header would break. */
#define PL_ABI_VERSION 1

/** Status codes, grouped by hundreds; the table with CLI exit codes is docs/errors.md. */
typedef enum pl_status {
  PL_OK = 0,
  PL_INVALID_ARGUMENT = 100,
  PL_SEQUENCE_TOO_LONG = 101,
  PL_RANK_TOO_LARGE = 102,
  PL_UNKNOWN_TARGET_MODULE = 103,
  PL_INVALID_STATE = 104,
  PL_INPUT_MISSING = 200,
  PL_INPUT_MALFORMED = 201,
  PL_INPUT_UNSUPPORTED = 202,
  PL_INPUT_MISMATCH = 203,
  PL_BUNDLE_MISSING_FILE = 300,
  PL_BUNDLE_CORRUPT = 301,
  PL_BUNDLE_VERSION = 302,
  PL_BUNDLE_MISMATCH = 303,
  PL_ADAPTER_MISSING_FILE = 400,
  PL_ADAPTER_CORRUPT = 401,
  PL_ADAPTER_MISMATCH = 402,
  PL_ADAPTER_OTHER_BASE = 403,
  PL_ADAPTER_UNSUPPORTED = 404,
  PL_OUT_OF_MEMORY = 500,
  PL_CANCELLED = 501,
  PL_IO_READ = 600,
  PL_IO_WRITE = 601,
  PL_DISK_FULL = 602,
  PL_BACKEND_MISSING = 700,
  PL_BACKEND_EXECUTION = 701,
  PL_BACKEND_SELF_TEST = 702,
  PL_INTERNAL = 900
} pl_status;

/** @return PL_ABI_VERSION of the library. */
PL_API uint32_t pl_abi_version(void);
/** @return the library's version, for example "0.1.0". Static storage. */
PL_API const char* pl_version(void);
/** @return the version of ExecuTorch that the library was built with, for example "1.5.1". Static storage. */
PL_API const char* pl_executorch_version(void);
/** @return names of ExecuTorch's delegates that this build has and that can run here, for example
 * "VulkanBackend,XnnpackBackend"; "" = none (docs/backends.md). Valid until the next call on this thread. */
PL_API const char* pl_available_delegates(void);
/** @return the name of a status, for example "ADAPTER_MISMATCH". Static storage. */
PL_API const char* pl_status_name(pl_status status);
/** @return the message of the last failure on this thread, "" when there was none. Valid until the next one.
 */
PL_API const char* pl_last_error(void);

typedef struct pl_engine pl_engine;
typedef struct pl_adapter pl_adapter;
typedef struct pl_session pl_session;
typedef struct pl_trainer pl_trainer;

/* ---------------------------------------------------------------- engine */

/** What becomes of the base's pages while layers run (docs/memory.md). Nothing of what is computed depends on it. */
typedef enum pl_weights {
  PL_WEIGHTS_AUTO = 0,  /**< PL_WEIGHTS_STREAM in training when the base does not fit beside the rest, else KEEP */
  PL_WEIGHTS_KEEP = 1,  /**< pages come at their first use and stay as long as the system lets them */
  PL_WEIGHTS_STREAM = 2 /**< the next layer is read while one runs, and released after it, in every walk */
} pl_weights;

/** When an opened bundle computes its recorded step to see that this device's backend gives what it should
 * (docs/self-test.md). A bundle without one is opened without. */
typedef enum pl_self_test {
  PL_SELF_TEST_AUTO = 0,  /**< for programs with delegates, unless state_dir remembers its outcome */
  PL_SELF_TEST_NEVER = 1, /**< not when opening; pl_engine_self_test runs it */
  PL_SELF_TEST_ALWAYS = 2
} pl_self_test;

typedef struct pl_engine_options {
  size_t struct_size;
  const char* backend;  /**< programs/<backend>; NULL or "auto" = the first of the bundle that can run here */
  int32_t num_threads;  /**< 0 = the number of cores; of the process: the engine opened last decides */
  int32_t verify_base;  /**< non-zero: hash base.ptd while opening */
  pl_weights weights;   /**< default PL_WEIGHTS_AUTO */
  int64_t memory_limit; /**< bytes that the parts of pl_memory may come to in training and evaluation; default 0 = no
                           limit. Trainers are planned within it or refused; the mapped base does not count */
  int64_t prefix_cache_bytes; /**< for KV rows of prompts, which other sessions then copy instead of computing them
                                 (docs/sessions.md); part of pl_memory.kv_cache. Default 0 = off */
  pl_self_test self_test; /**< default PL_SELF_TEST_AUTO. With backend "auto", a backend that fails is passed over for
                             the next of the bundle (pl_engine_info.backend_note); else it is PL_BACKEND_SELF_TEST */
  const char* state_dir;  /**< folder, made when needed, where self-tests' outcomes are remembered for this version of
                             runtime and system; default NULL = nowhere */
} pl_engine_options;
/** Writes the defaults of the first `struct_size` bytes; fields that the library does not know are zero. NULL is fine.
 * For bindings of other languages; C and C++ call the functions without `_sized`. */
PL_API void pl_engine_options_init_sized(pl_engine_options* options, size_t struct_size);
/** Sets struct_size and the defaults. */
static inline void pl_engine_options_init(pl_engine_options* options) {
  pl_engine_options_init_sized(options, sizeof(*options));
}

/** Opens a bundle: checks it (docs/manifest.md, "Opening") and maps base.ptd read-only. NULL options = defaults. */
PL_API pl_status pl_engine_open(const char* bundle_dir, const pl_engine_options* options, pl_engine** out);
PL_API void pl_engine_close(pl_engine* engine);

/** Facts of an opened bundle. */
typedef struct pl_engine_info {
  size_t struct_size;
  int64_t vocab_size, hidden_size, num_layers, max_seq_len, train_t_max, prefill_t_max, max_rank, max_segments;
  int64_t bos_token_id;      /**< −1 = none */
  const char* base_sha256;   /**< 64 hex digits; owned by the engine */
  const char* manifest_json; /**< the whole manifest; owned by the engine */
  const char* backend;       /**< whose programs run; owned by the engine */
  const char* backend_note;  /**< why not those of the backend that comes first, "" = they do; owned by the engine */
} pl_engine_info;
PL_API pl_status pl_engine_get_info(const pl_engine* engine, pl_engine_info* info);

/**
 * What the runtime allocated, by part (reserved memory counts once it is touched), and what the kernel says of the
 * process. Bytes.
 */
typedef struct pl_memory {
  size_t struct_size;
  int64_t arena, block_inputs, adapter, gradients, optimizer, kv_cache, scratch, other;
  int64_t rss_anon, rss_file; /**< /proc/self/status */
  int64_t unexplained;        /**< rss_anon − the sum of the parts */
  int64_t base_private_dirty; /**< /proc/self/smaps of the mapping of base.ptd; 0 by design */
  int64_t base_resident;      /**< resident bytes of that mapping */
  int64_t peak; /**< the largest sum of the parts so far; of the kernels' scratch, which is the process', the
                most since an engine was opened last */
} pl_memory;
PL_API pl_status pl_engine_get_memory(const pl_engine* engine, pl_memory* memory);

/** Hashes base.ptd as it lies on the disk now. @return PL_BUNDLE_CORRUPT when it is not what the manifest says. */
PL_API pl_status pl_engine_verify_base(const pl_engine* engine);
/** Computes the bundle's recorded step with the engine's programs. @return PL_BACKEND_SELF_TEST with everything that is
 * off, PL_INVALID_STATE when the bundle has none. Takes the memory of a small training step. */
PL_API pl_status pl_engine_self_test(pl_engine* engine);
/** Computes such a step and writes it to a file, for the bundle's maker. */
PL_API pl_status pl_engine_record_self_test(pl_engine* engine, const char* path);
/** SHA-256 of any file. @param hex [65]: 64 hex digits and 0. @return PL_INPUT_MISSING, PL_IO_READ. */
PL_API pl_status pl_file_sha256(const char* path, char* hex);

/* ---------------------------------------------------------------- adapters */

/** Loads a PEFT folder (adapter_config.json, adapter_model.safetensors). Every mismatch is listed in the message; where
 * the folder has a checksums.json (docs/artifact.md), both files are held to it. */
PL_API pl_status pl_adapter_load(pl_engine* engine, const char* dir, pl_adapter** out);
/** Writes a PEFT folder atomically: files are written beside, fsynced and renamed. */
PL_API pl_status pl_adapter_save(const pl_adapter* adapter, const char* dir);
PL_API void pl_adapter_free(pl_adapter* adapter);

/**
 * Watches a folder of adapters, each a PEFT folder in it: what is new, changed and removed appears to the running
 * engine (docs/sessions.md, "Adapters that come and go"). A folder is taken when its files have settled and are found
 * sound; a broken one is told with its reason and does not replace the one that works. Names that begin with a dot or
 * hold ".tmp-" are passed over. For one thread at a time, but for pl_adapter_watch_get.
 */
typedef struct pl_adapter_watch pl_adapter_watch;

typedef struct pl_adapter_watch_options {
  size_t struct_size;
  int64_t settle_ms;   /**< for so long files must be unchanged before they are read; default 200 */
  int64_t interval_ms; /**< between two looks at most, as where the system does not tell of changes; default 1000 */
  int32_t poll_only;   /**< non-zero: do not ask the system (inotify) to tell of changes; default 0 */
} pl_adapter_watch_options;
/** As pl_engine_options_init_sized. */
PL_API void pl_adapter_watch_options_init_sized(pl_adapter_watch_options* options, size_t struct_size);
/** Sets struct_size and the defaults. */
static inline void pl_adapter_watch_options_init(pl_adapter_watch_options* options) {
  pl_adapter_watch_options_init_sized(options, sizeof(*options));
}

typedef enum pl_adapter_change {
  PL_WATCH_ADDED = 0,
  PL_WATCH_CHANGED = 1,
  PL_WATCH_REMOVED = 2,
  PL_WATCH_REJECTED = 3 /**< broken: the adapter of that name stays the one that it was, if there was one */
} pl_adapter_change;

/** Everything that it points to is only there during the callback. */
typedef struct pl_adapter_event {
  size_t struct_size;
  pl_adapter_change change;
  const char* name;          /**< of the adapter's folder */
  const pl_adapter* adapter; /**< the new one; of a removed one the last; of a rejected one what stays, or NULL */
  pl_status status;          /**< why it was rejected */
  const char* message;
} pl_adapter_event;
typedef void (*pl_adapter_callback)(const pl_adapter_event* event, void* user);

/** @param options NULL = the defaults. @return PL_INPUT_MISSING when there is no such folder. */
PL_API pl_status pl_adapter_watch_open(pl_engine* engine, const char* dir, const pl_adapter_watch_options* options,
                                       pl_adapter_watch** out);
PL_API void pl_adapter_watch_close(pl_adapter_watch* watch);
/** Looks, waits for at most `timeout_ms` (0 = not at all) until something can be told, and tells it; the first call
 * tells of the adapters that are there. @param callback may be NULL. */
PL_API pl_status pl_adapter_watch_poll(pl_adapter_watch* watch, int64_t timeout_ms, pl_adapter_callback callback,
                                       void* user);
/** @return the adapter of that name as it was when last told of; it stays usable when the folder changes or goes, until
 * it is freed and no session uses it. PL_ADAPTER_MISSING_FILE when there is none. From any thread. */
PL_API pl_status pl_adapter_watch_get(const pl_adapter_watch* watch, const char* name, pl_adapter** out);

/** One adapter of a set, with its weight in the combination (1 = as trained). Frozen: it has no struct_size and never
 * grows. */
typedef struct pl_adapter_ref {
  const pl_adapter* adapter;
  float weight;
} pl_adapter_ref;

/* ---------------------------------------------------------------- sessions */

/** How keys and values of past tokens are kept (docs/stages.md, "The KV cache"). */
typedef enum pl_cache_dtype {
  PL_CACHE_FLOAT32 = 0,
  PL_CACHE_FLOAT16 = 1, /**< half the bytes */
  PL_CACHE_INT8 = 2,    /**< a quarter, and one fp32 scale a head */
  PL_CACHE_AUTO = 3     /**< fp32, or the widest with which the context fits the engine's memory limit */
} pl_cache_dtype;

/** How a session or a trainer computes products with the 4-bit matrices (docs/layout.md). Evaluation is always
 * fp32. */
typedef enum pl_compute {
  PL_COMPUTE_FLOAT32 = 0,
  PL_COMPUTE_INT16 = 1, /**< 15-bit integers with exact sums; a product is off by about 6e-5 of its size, one of the
                           backward by 1e-4. More than 16 rows only on x86, on NEON as PL_COMPUTE_FLOAT32 */
  PL_COMPUTE_INT8 = 2,  /**< 8-bit integers with exact sums; a product is off by about 1 %, gradients by 3 %. More than
                           16 rows only where the CPU multiplies bytes (AVX-512 VNNI, NEON's dot products; with AMX
                           they are bf16, faster and closer), elsewhere as PL_COMPUTE_INT16 */
  PL_COMPUTE_AUTO = 3,  /**< fp32 or int16, whichever is faster on this machine */
  PL_COMPUTE_BF16 = 4   /**< bfloat16 with fp32 sums; a product is off by about 0.3 %. More than 16 rows, where the CPU
                           multiplies matrices of bf16 (AMX, NEON with FEAT_BF16), elsewhere as PL_COMPUTE_INT16 */
} pl_compute;

typedef struct pl_session_options {
  size_t struct_size;
  int64_t context_length;     /**< KV cache rows; 0 = the bundle's max_seq_len, or as many as the engine's memory limit
                                 leaves room for; a number that does not fit is refused with PL_OUT_OF_MEMORY */
  pl_cache_dtype cache_dtype; /**< default PL_CACHE_FLOAT32 */
  pl_compute compute;         /**< default PL_COMPUTE_AUTO */
} pl_session_options;
/** As pl_engine_options_init_sized. */
PL_API void pl_session_options_init_sized(pl_session_options* options, size_t struct_size);
/** Sets struct_size and the defaults. */
static inline void pl_session_options_init(pl_session_options* options) {
  pl_session_options_init_sized(options, sizeof(*options));
}

PL_API pl_status pl_session_create(pl_engine* engine, const pl_session_options* options, pl_session** out);
PL_API void pl_session_free(pl_session* session);

/**
 * Replaces the whole set of active adapters at a token boundary; n = 0 returns to the bare base. Only pointers change:
 * no reload, no copy of the base. Tokens already in the session are kept; their KV rows belong to the old set, so the
 * next call that computes takes them and the tokens it appends through one prefill with the new set. The output equals
 * that of a fresh session with this set given all of these tokens by one pl_session_prefill. The session keeps a
 * reference to each adapter until it is replaced. May be called from within a pl_token_callback.
 */
PL_API pl_status pl_session_set_adapters(pl_session* session, const pl_adapter_ref* refs, size_t n);
/** Forgets all tokens; keeps the adapters. */
PL_API pl_status pl_session_reset(pl_session* session);
/**
 * Forgets the tokens from `length` on. KV rows stay up to the last call that ended there or before; the tokens behind
 * it are computed again by the next call, in one go with those that it appends. May be called from within a
 * pl_token_callback. @return PL_INVALID_ARGUMENT when `length` is not between 0 and the session's length.
 */
PL_API pl_status pl_session_truncate(pl_session* session, int64_t length);
/** Makes a session with the same tokens, rows, adapters and settings, which goes on as this one would. Neither sees
 * what happens to the other. @return PL_OUT_OF_MEMORY when it does not fit the engine's memory limit. */
PL_API pl_status pl_session_fork(const pl_session* session, pl_session** out);
/**
 * Ends the call that computes on another thread, or else the next one, with PL_CANCELLED: a prefill at its next block,
 * with the session as before; a generation at the next block or token, with the prompt, once it is read, and the tokens
 * given to the callback. May be called from any thread and from a signal handler while the session exists.
 */
PL_API pl_status pl_session_cancel(pl_session* session);
/** What a session holds. */
typedef struct pl_session_info {
  size_t struct_size;
  int64_t context_length, length; /**< tokens that it can hold, and that it holds */
  pl_cache_dtype cache_dtype;     /**< never PL_CACHE_AUTO */
  int64_t bytes_per_token;        /**< of the KV cache, all layers */
  int64_t cache_resident; /**< bytes of the KV cache's pages in memory: rows become resident as they are written; those
                             that no later token sees (sliding windows), and those of a reset, are given back */
  pl_compute compute;     /**< never PL_COMPUTE_AUTO */
  int64_t copied_tokens;  /**< whose rows came from the engine's prefix cache so far */
  pl_compute decode_compute, prefill_compute; /**< what this machine makes of `compute` in products of at most 16 rows,
                                                 and of more; not of what a delegate computes */
} pl_session_info;
PL_API pl_status pl_session_get_info(const pl_session* session, pl_session_info* info);
/** @return the number of tokens in the session. */
PL_API int64_t pl_session_length(const pl_session* session);

/** Appends tokens (split in chunks of prefill_t_max). @param logits [vocab_size] fp32 of the last token, may be NULL.
 */
PL_API pl_status pl_session_prefill(pl_session* session, const int64_t* tokens, size_t n, float* logits);
/** Appends one token. @param logits as above. */
PL_API pl_status pl_session_decode(pl_session* session, int64_t token, float* logits);

typedef struct pl_generate_options {
  size_t struct_size;
  int64_t max_new_tokens;     /**< default 128 */
  float temperature;          /**< 0 = greedy (default) */
  float top_p;                /**< 1 = off (default) */
  uint64_t seed;              /**< the same seed gives the same tokens */
  const int64_t* stop_tokens; /**< NULL = the bundle's eos tokens */
  size_t num_stop_tokens;
  /* With temperature above 0, of the tokens by falling probability are kept, as transformers does: the first top_k, of
   * these the fewest that reach top_p, of these the ones at least min_p times as probable as the first. */
  int64_t top_k;            /**< 0 = off (default) */
  float min_p;              /**< 0 = off (default) */
  float repetition_penalty; /**< makes tokens of the context less likely, greedy or not; 1 = off (default) */
} pl_generate_options;
/** As pl_engine_options_init_sized. */
PL_API void pl_generate_options_init_sized(pl_generate_options* options, size_t struct_size);
/** Sets struct_size and the defaults. */
static inline void pl_generate_options_init(pl_generate_options* options) {
  pl_generate_options_init_sized(options, sizeof(*options));
}

/** Called for every new token (stop tokens included). @return 0 to go on, anything else to stop after this token. */
typedef int32_t (*pl_token_callback)(int64_t token, void* user);

typedef struct pl_generate_report {
  size_t struct_size;
  int64_t prompt_tokens, new_tokens;
  double prefill_seconds, decode_seconds;
  int32_t stop_reason; /**< 0 length, 1 stop token, 2 callback */
} pl_generate_report;

/** Prefills `prompt` (may be empty when the session holds tokens) and generates. When the prompt's prefill fails, the
 * session is as before; when a later step fails, the prompt and the tokens given to the callback stay in it.
 * @param report may be NULL. */
PL_API pl_status pl_session_generate(pl_session* session, const int64_t* prompt, size_t n,
                                     const pl_generate_options* options, pl_token_callback callback, void* user,
                                     pl_generate_report* report);

/* ---------------------------------------------------------------- training and evaluation */

/** One packed micro-batch: rows of tokens one after the other. Arrays are only read during the call. The elements of an
 * array of batches all have the same struct_size, which is also the distance between them. For a trainer with
 * PL_LOSS_DPO segments 2i and 2i + 1 are the chosen and the rejected answer of a pair, the prompt in each of them. */
typedef struct pl_batch {
  size_t struct_size;
  const int64_t* tokens; /**< [num_tokens] */
  const int64_t*
      labels; /**< [num_tokens] as Hugging Face: labels[i] is tokens[i] or −100; shifted inside, per segment */
  const int64_t* segments; /**< [num_segments + 1] offsets, 0 … num_tokens */
  size_t num_tokens, num_segments;
} pl_batch;

typedef enum pl_optimizer {
  PL_ADAMW = 0,
  PL_SGD = 1,
  PL_ADAMW_8BIT = 2, /**< moments in 8 bits with a scale for every 256, as torchao's AdamW8bit */
  PL_ADAFACTOR = 3,  /**< a number a row and a number a column; the learning rate is used as given */
  PL_LION = 4        /**< published with beta2 = 0.99 and a third to a tenth of AdamW's learning rate */
} pl_optimizer;

/** How the learning rate moves: transformers' get_scheduler. Each rises from 0 over the warm-up's steps first. */
typedef enum pl_schedule {
  PL_SCHEDULE_CONSTANT = 0,
  PL_SCHEDULE_LINEAR = 1, /**< down to 0 at total_steps */
  PL_SCHEDULE_COSINE = 2  /**< the same along half a cosine */
} pl_schedule;

/** What the inputs of the blocks are kept as between forward and backward; blocks compute in fp32 all the same. */
typedef enum pl_activations {
  PL_ACTIVATIONS_AUTO = 0, /**< fp32, or fp16 where the memory limit asks for it */
  PL_ACTIVATIONS_FP32 = 1,
  PL_ACTIVATIONS_FP16 = 2, /**< a block's input with values beyond 65504 is kept as bf16 */
  PL_ACTIVATIONS_BF16 = 3
} pl_activations;

/** What the backward computes again of a block, besides what follows from the products below. */
typedef enum pl_recompute {
  PL_RECOMPUTE_AUTO = 0,     /**< full; under a memory limit, selective for as many blocks as it has room for, last ones
                                first, once everything else has been chosen */
  PL_RECOMPUTE_FULL = 1,     /**< all of it: only its input is kept */
  PL_RECOMPUTE_SELECTIVE = 2 /**< all but the first products of the MLP (gate and up), which are kept in fp32 */
} pl_recompute;

typedef enum pl_loss {
  PL_LOSS_CROSS_ENTROPY = 0, /**< the mean over all unmasked tokens of a step */
  PL_LOSS_DPO = 1 /**< direct preference optimization: the mean over all pairs of a step of −log σ(beta · (how much more
                     likely than its reference the policy makes the chosen answer, less the same of the rejected one)),
                     an answer's log-probability being the sum over its unmasked tokens. The reference is the initial
                     adapter as it was given, or the bare base without one */
} pl_loss;

typedef struct pl_trainer_options {
  size_t struct_size;
  int32_t rank;               /**< default 16; ignored when an initial adapter is given */
  float alpha;                /**< default 32; scale of a site = alpha / rank */
  const char* target_modules; /**< comma-separated: modules of the bundle, "attention", "all-linear"; NULL = all */
  pl_optimizer optimizer;
  float learning_rate, beta1, beta2, epsilon, weight_decay; /**< defaults 1e-4, 0.9, 0.999, 1e-8, 0 */
  float momentum;                                           /**< SGD, default 0 */
  float dropout;                                            /**< LoRA dropout, default 0 */
  uint64_t seed;              /**< of A's initialisation (Kaiming-uniform as PEFT; B = 0) and of the dropout */
  pl_activations activations; /**< default PL_ACTIVATIONS_AUTO */
  int64_t max_rows;           /**< token rows of a pass; default 0 = train_t_max, or what the memory limit allows */
  const char* scratch_dir;    /**< folder for kept block inputs that memory has no room for, in a file without a name;
                                 not one that lies in memory (tmpfs). Default NULL = they stay in memory */
  int64_t activation_limit;   /**< bytes of kept block inputs beyond which they go to scratch_dir; default 0 = as the
                                 memory limit asks for */
  pl_schedule schedule;       /**< default PL_SCHEDULE_CONSTANT */
  int64_t warmup_steps;       /**< default 0 */
  int64_t total_steps; /**< of the whole training: where schedules end, and for pl_progress; default 0 = unknown */
  float max_grad_norm; /**< gradients with a larger global L2 norm are scaled down to it; default 0 = never */
  int32_t max_skipped_steps; /**< steps in a row that may be left out because their loss or gradient is not finite; the
                                next such step fails. Default 0 = the first one does */
  int32_t keep_best;         /**< non-zero: pl_trainer_validate keeps a copy of the best adapter; default 0 */
  int32_t patience;          /**< validations in a row without improvement before should_stop; default 0 = no limit */
  float min_delta;           /**< by how much a loss must be below the best one to be an improvement; default 0 */
  pl_loss loss;              /**< default PL_LOSS_CROSS_ENTROPY */
  float beta;                /**< of PL_LOSS_DPO: how far from the reference a reward leads; above 0, default 0.1 */
  float label_smoothing;     /**< of PL_LOSS_DPO: how probable it is that the answers of a pair are the wrong way round
                                (conservative DPO); from 0 to below 0.5, default 0 */
  pl_compute compute;        /**< of the blocks and the head, forward and backward; default
                                PL_COMPUTE_FLOAT32 */
  pl_recompute recompute;    /**< default PL_RECOMPUTE_AUTO; the result is the same, bit for bit, with block inputs in
                                fp32 */
} pl_trainer_options;
/** As pl_engine_options_init_sized. */
PL_API void pl_trainer_options_init_sized(pl_trainer_options* options, size_t struct_size);
/** Sets struct_size and the defaults. */
static inline void pl_trainer_options_init(pl_trainer_options* options) {
  pl_trainer_options_init_sized(options, sizeof(*options));
}

/** @param init start from a copy of this adapter (its ranks, alpha and modules); NULL = a new one. With PL_LOSS_DPO it
 * is also the reference, which the trainer keeps. */
PL_API pl_status pl_trainer_create(pl_engine* engine, const pl_trainer_options* options, const pl_adapter* init,
                                   pl_trainer** out);
PL_API void pl_trainer_free(pl_trainer* trainer);

/** What a trainer was planned for: the largest setting within the engine's memory limit (docs/memory.md). Bytes. */
typedef struct pl_trainer_info {
  size_t struct_size;
  int64_t max_rows;           /**< token rows of a pass; a step with more is split by segments */
  pl_activations activations; /**< never PL_ACTIVATIONS_AUTO */
  int32_t streams_weights;    /**< non-zero: the base's pages are read ahead and released (pl_weights) */
  int64_t spilled;            /**< of the scratch file at max_rows; 0 = block inputs stay in memory */
  int64_t memory_limit;       /**< 0 = none */
  int64_t planned;            /**< the parts of pl_memory at their highest, and their sum */
  int64_t arena, block_inputs, adapter, gradients, optimizer, kv_cache, scratch, other;
  int64_t kept_blocks; /**< that keep their first products for the backward (pl_recompute), as part of block_inputs */
  pl_compute compute;  /**< that was asked for, never PL_COMPUTE_AUTO */
  pl_compute step_compute; /**< what this machine makes of it in the blocks of passes of more than 16 rows; not of what
                              a delegate computes */
} pl_trainer_info;
PL_API pl_status pl_trainer_get_info(const pl_trainer* trainer, pl_trainer_info* info);

typedef struct pl_step_report {
  size_t struct_size;
  int64_t step;       /**< steps done, this one included */
  double loss;        /**< mean over all unmasked tokens of the step, or over its pairs (pl_trainer_options.loss) */
  int64_t num_tokens; /**< rows computed */
  int64_t num_labels; /**< unmasked tokens */
  double grad_norm;   /**< global L2 norm of the gradient */
  double seconds;
  int64_t passes;        /**< forward and backward passes that the micro-batches were computed in */
  double learning_rate;  /**< that this step was made with */
  int32_t skipped;       /**< non-zero: the loss or the gradient was not finite, so the adapter was left as it was */
  int64_t skipped_steps; /**< so far */
  /* With PL_LOSS_DPO, means over the pairs of the step; else 0. A reward is beta · (log-probability of the answer by
   * the policy − by the reference). */
  int64_t num_pairs;
  double chosen_reward, rejected_reward;
  double reward_margin;   /**< chosen_reward − rejected_reward */
  double reward_accuracy; /**< the share of pairs whose chosen answer has the larger reward */
} pl_step_report;

/** The learning rate that the schedule works on, from the next step on. */
PL_API pl_status pl_trainer_set_learning_rate(pl_trainer* trainer, float learning_rate);
/**
 * Forward and backward of every micro-batch, then one optimizer step. A micro-batch with more rows than a pass may have
 * (pl_trainer_info.max_rows) or more segments than the bundle allows is computed in several passes of whole segments
 * whose gradients are added: the same mean over all unmasked tokens of the step, and without dropout the same result up
 * to rounding. A step that fails leaves the adapter and the optimizer as they were; one that is left out because
 * something was not finite (max_skipped_steps) counts as a step all the same. @param report may be NULL.
 */
PL_API pl_status pl_trainer_step(pl_trainer* trainer, const pl_batch* micro_batches, size_t n, pl_step_report* report);
/** As pl_trainer_step without the optimizer step: the gradients can then be read with pl_trainer_get_gradient. */
PL_API pl_status pl_trainer_forward_backward(pl_trainer* trainer, const pl_batch* micro_batches, size_t n,
                                             pl_step_report* report);
/**
 * Ends the step that is running on another thread, or else the next one, at the next block with PL_CANCELLED; the
 * adapter stays as it was before the step. May be called from any thread and from a signal handler while the trainer
 * exists.
 */
PL_API pl_status pl_trainer_cancel(pl_trainer* trainer);
/**
 * Makes the running step, or else the next one, wait at its next block until pl_trainer_resume or pl_trainer_cancel.
 * Returns at once; pl_progress.paused says when the step waits. While it waits, pl_trainer_save_checkpoint may be
 * called from another thread. From any thread, not from a signal handler.
 */
PL_API pl_status pl_trainer_pause(pl_trainer* trainer);
PL_API pl_status pl_trainer_resume(pl_trainer* trainer);

/** How far training is. What is not known yet is 0. */
typedef struct pl_progress {
  size_t struct_size;
  int64_t step, total_steps;   /**< done, skipped ones included; total as in the options */
  int64_t blocks_done, blocks; /**< of the running step: layers of its passes, forward and backward; 0 between steps */
  int32_t paused;              /**< non-zero: a step waits at a block */
  double loss, grad_norm, learning_rate; /**< of the last step */
  int64_t tokens;                        /**< rows computed in all steps */
  int64_t skipped_steps;
  double tokens_per_second; /**< over the steps of this process, without pauses */
  double seconds_left;      /**< −1 = not known */
  double chosen_reward, rejected_reward, reward_margin, reward_accuracy; /**< of the last step, as pl_step_report */
} pl_progress;
/** From any thread, while a step runs as well. Memory is pl_engine_get_memory's. */
PL_API pl_status pl_trainer_get_progress(const pl_trainer* trainer, pl_progress* progress);

typedef struct pl_validation {
  size_t struct_size;
  int64_t step;
  double loss, perplexity; /**< mean over the unmasked tokens of all batches, or over their pairs with PL_LOSS_DPO,
                              where there is no perplexity: NaN */
  int64_t num_labels;
  int32_t improved;    /**< non-zero: the lowest loss so far */
  int32_t should_stop; /**< non-zero: `patience` validations in a row were no improvement */
  int64_t best_step;
  double best_loss;
  double seconds;
  int64_t num_pairs; /**< with PL_LOSS_DPO, and the means over them as pl_step_report; else 0 */
  double chosen_reward, rejected_reward, reward_margin, reward_accuracy;
} pl_validation;
/** Evaluates the adapter as it is on held-out batches, and remembers which was best. @param validation may be NULL. */
PL_API pl_status pl_trainer_validate(pl_trainer* trainer, const pl_batch* batches, size_t n, pl_validation* validation);
/** @return the adapter of the best validation (option keep_best). PL_INVALID_STATE when there is none. */
PL_API pl_status pl_trainer_get_best_adapter(const pl_trainer* trainer, pl_adapter** out);

typedef struct pl_checkpoint_options {
  size_t struct_size;
  int32_t keep;           /**< newest checkpoints that stay in the folder; default 2 */
  const char* user_state; /**< any text to be given back by pl_trainer_load_checkpoint; default NULL = "" */
} pl_checkpoint_options;
/** As pl_engine_options_init_sized. */
PL_API void pl_checkpoint_options_init_sized(pl_checkpoint_options* options, size_t struct_size);
/** Sets struct_size and the defaults. */
static inline void pl_checkpoint_options_init(pl_checkpoint_options* options) {
  pl_checkpoint_options_init_sized(options, sizeof(*options));
}

/** A checkpoint that was written or loaded. Its texts belong to the trainer and stay until its next checkpoint call. */
typedef struct pl_checkpoint {
  size_t struct_size;
  int64_t step;
  const char* path;       /**< <dir>/step-00000100 */
  const char* user_state; /**< as it was given */
  int64_t num_skipped;    /**< loading: newer checkpoints that were passed over because they are damaged */
  const char* skipped;    /**< one line for each: its path and what is wrong with it */
  int64_t nbytes;
  double seconds;
  int32_t should_stop; /**< as pl_validation: non-zero where patience had run out by then */
  int64_t best_step;   /**< as pl_validation */
} pl_checkpoint;
/**
 * Writes everything that training needs to go on exactly (docs/checkpoint.md) to a new folder in `dir`, atomically, and
 * removes all but the newest `keep`. When it fails, the checkpoints that were there are untouched. @param options NULL
 * = the defaults. @param checkpoint may be NULL.
 */
PL_API pl_status pl_trainer_save_checkpoint(pl_trainer* trainer, const char* dir, const pl_checkpoint_options* options,
                                            pl_checkpoint* checkpoint);
/**
 * Goes on from the newest undamaged checkpoint in `dir`: what follows is what would have followed without a stop, bit
 * for bit. The trainer must have been made with the same options over the same base: PL_INPUT_MISMATCH lists what
 * differs. PL_INPUT_MISSING when there is no checkpoint, PL_INPUT_MALFORMED when all are damaged; the trainer is then
 * as it was. @param checkpoint may be NULL.
 */
PL_API pl_status pl_trainer_load_checkpoint(pl_trainer* trainer, const char* dir, pl_checkpoint* checkpoint);
/**
 * Keeps an event of this training (docs/events.md), one line of JSON: checkpoints take all of them along, and
 * pl_trainer_save_artifact writes them. @return PL_INVALID_ARGUMENT when it is no event, or a `progress` that does not
 * follow the step of the last one.
 */
PL_API pl_status pl_trainer_log_event(pl_trainer* trainer, const char* line);

typedef struct pl_artifact_options {
  size_t struct_size;
  int32_t best;         /**< non-zero: the adapter of the best validation (option keep_best); default 0: as it is */
  const char* run_json; /**< a JSON object for `run` of metadata.json: what the caller knows; default NULL = {} */
} pl_artifact_options;
/** As pl_engine_options_init_sized. */
PL_API void pl_artifact_options_init_sized(pl_artifact_options* options, size_t struct_size);
/** Sets struct_size and the defaults. */
static inline void pl_artifact_options_init(pl_artifact_options* options) {
  pl_artifact_options_init_sized(options, sizeof(*options));
}
/**
 * Writes what this training leaves behind (docs/artifact.md), atomically: the adapter as pl_adapter_save does, where it
 * comes from, the events, and checksums of it all. @param options NULL = the defaults. @return PL_INVALID_STATE when
 * the best adapter is asked for and none is kept.
 */
PL_API pl_status pl_trainer_save_artifact(const pl_trainer* trainer, const char* dir,
                                          const pl_artifact_options* options);
/** Copies one gradient. @param name PEFT key, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight". @param
 * n elements. */
PL_API pl_status pl_trainer_get_gradient(const pl_trainer* trainer, const char* name, float* out, size_t n);
/** @return a snapshot of the trained adapter, independent of the trainer. */
PL_API pl_status pl_trainer_get_adapter(const pl_trainer* trainer, pl_adapter** out);

typedef struct pl_eval_report {
  size_t struct_size;
  double sum_nll; /**< over unmasked tokens */
  int64_t num_labels;
  int64_t num_tokens;
  double seconds;
} pl_eval_report;

/** Forward only. @param logprobs [num_tokens] of every token given those before it in its segment; NaN for the first;
 * may be NULL. */
PL_API pl_status pl_engine_evaluate(pl_engine* engine, const pl_adapter_ref* refs, size_t n, const pl_batch* batch,
                                    float* logprobs, pl_eval_report* report);

#ifdef __cplusplus
}
#endif
#endif  // POCKETLORA_POCKETLORA_H_
