/**
 * PocketLoRA tokenizer, C API: texts to token ids and back, from the `tokenizer.plt` of a bundle.
 *
 * A library of its own (libpocketlora_tokenizer): it needs neither libpocketlora nor ExecuTorch, and of pocketlora.h it
 * takes the status codes only. An app may as well tokenize by other means and hand ids to pocketlora.h.
 *
 * - The file is mapped and used in place (docs/tokenizer.md); a handle takes a few kB of heap.
 * - Ids are those of Hugging Face's `tokenizers` for the tokenizer.json that the file was made of.
 * - Errors: as in pocketlora.h, with a message of its own: pl_tokenizer_last_error().
 * - Threads: a tokenizer is immutable and may be shared; a stream is used by one thread at a time.
 */
#ifndef POCKETLORA_POCKETLORA_TOKENIZER_H_
#define POCKETLORA_POCKETLORA_TOKENIZER_H_

#include <stddef.h>
#include <stdint.h>

#include "pocketlora/pocketlora.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bumped when a caller compiled against an older header would break. */
#define PL_TOKENIZER_ABI_VERSION 1

/** @return PL_TOKENIZER_ABI_VERSION of the library. */
PL_API uint32_t pl_tokenizer_abi_version(void);
/** @return the message of the last failure on this thread, "" when there was none. Valid until the next one. */
PL_API const char* pl_tokenizer_last_error(void);

typedef struct pl_tokenizer pl_tokenizer;
typedef struct pl_text_stream pl_text_stream;

/** Opens a tokenizer file, `<bundle>/tokenizer.plt`.
 * @return BUNDLE_MISSING_FILE, IO_READ, BUNDLE_CORRUPT, BUNDLE_VERSION or INVALID_ARGUMENT. */
PL_API pl_status pl_tokenizer_open(const char* path, pl_tokenizer** out);
/** Streams of a tokenizer must be freed before it. NULL is fine. */
PL_API void pl_tokenizer_close(pl_tokenizer* tokenizer);

typedef struct pl_tokenizer_info {
  size_t struct_size;
  int64_t num_tokens; /**< every id is below it; not every number below it need be a token */
  int64_t file_bytes; /**< of the mapping */
} pl_tokenizer_info;
/** Set info->struct_size before the call. */
PL_API pl_status pl_tokenizer_get_info(const pl_tokenizer* tokenizer, pl_tokenizer_info* info);

/**
 * Encodes a text of `length` bytes. Malformed UTF-8 is read as U+FFFD, one for each maximal part that could begin a
 * character: what Hugging Face's library gives for `bytes.decode("utf-8", "replace")`.
 *
 * @param add_special_tokens non-zero: with what the tokenizer puts around a text, such as BOS.
 * @param ids [capacity], may be NULL when capacity is 0. The first `capacity` ids are written.
 * @param count the number of ids of the text: where it is above `capacity`, call again with that much room.
 */
PL_API pl_status pl_tokenizer_encode(const pl_tokenizer* tokenizer, const char* text, size_t length,
                                     int32_t add_special_tokens, int64_t* ids, size_t capacity, size_t* count);

/**
 * Decodes ids to UTF-8. An id without a token has no text; a negative one is INVALID_ARGUMENT.
 *
 * @param skip_special_tokens non-zero: special tokens have no text either.
 * @param text [capacity] without a terminating zero, may be NULL when capacity is 0. The first `capacity` bytes are
 * written.
 * @param length bytes of the whole text.
 */
PL_API pl_status pl_tokenizer_decode(const pl_tokenizer* tokenizer, const int64_t* ids, size_t n,
                                     int32_t skip_special_tokens, char* text, size_t capacity, size_t* length);

/**
 * Decodes ids one by one. All that push and flush give, one after the other, is what pl_tokenizer_decode gives for all
 * the ids, and a character is never cut. To continue a prompt, push its ids and drop what comes back: the text of the
 * first new token then keeps its leading space.
 */
PL_API pl_status pl_text_stream_create(const pl_tokenizer* tokenizer, int32_t skip_special_tokens,
                                       pl_text_stream** out);
PL_API void pl_text_stream_free(pl_text_stream* stream);
/** @param text the bytes that became certain, followed by a zero; valid until the next call with this stream.
 * @param length of it, 0 while a character is incomplete. */
PL_API pl_status pl_text_stream_push(pl_text_stream* stream, int64_t id, const char** text, size_t* length);
/** Ends a text: gives what was held back, broken bytes as U+FFFD. The next id begins another text. */
PL_API pl_status pl_text_stream_flush(pl_text_stream* stream, const char** text, size_t* length);

#ifdef __cplusplus
}
#endif
#endif  // POCKETLORA_POCKETLORA_TOKENIZER_H_
