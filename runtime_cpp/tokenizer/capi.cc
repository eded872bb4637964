#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pocketlora/pocketlora_tokenizer.h"
#include "text_stream.h"
#include "tokenizer.h"

struct pl_tokenizer {
  std::unique_ptr<pocketlora::tokenizer::Tokenizer> tokenizer;
};

struct pl_text_stream {
  pocketlora::tokenizer::TextStream stream;
  std::string text;
};

namespace {

using pocketlora::tokenizer::Outcome;
using pocketlora::tokenizer::TextStream;

// Places in a text are held in 32 bits.
constexpr size_t kLongestText = size_t{1} << 31;

std::string& last_error() {
  thread_local std::string message;
  return message;
}

pl_status report(Outcome outcome) {
  if (!outcome.ok()) last_error() = std::move(outcome.message);
  return outcome.code;
}

pl_status refuse(const std::string& message) { return report({PL_INVALID_ARGUMENT, message}); }

pl_status refuse_null(const char* function, const char* name) {
  return refuse(std::string(function) + ": " + name + " must not be null");
}

pl_status refuse_id(const char* function, int64_t id) {
  return refuse(std::string(function) + ": expected token ids from 0, found " + std::to_string(id));
}

// An id beyond 32 bits has no token, as one beyond the vocabulary.
uint32_t narrow(int64_t id) { return static_cast<uint32_t>(std::min<int64_t>(id, pocketlora::tokenizer::kNone)); }

void give(pl_text_stream* stream, const char** text, size_t* length) {
  *text = stream->text.c_str();
  *length = stream->text.size();
}

}  // namespace

#define PL_REQUIRE(pointer) \
  if ((pointer) == nullptr) return refuse_null(__func__, #pointer)
#define PL_REQUIRE_ARRAY(pointer, size) \
  if ((pointer) == nullptr && (size) > 0) return refuse_null(__func__, #pointer)

uint32_t pl_tokenizer_abi_version(void) { return PL_TOKENIZER_ABI_VERSION; }
const char* pl_tokenizer_last_error(void) { return last_error().c_str(); }

pl_status pl_tokenizer_open(const char* path, pl_tokenizer** out) {
  PL_REQUIRE(path);
  PL_REQUIRE(out);
  std::unique_ptr<pocketlora::tokenizer::Tokenizer> tokenizer;
  Outcome outcome = pocketlora::tokenizer::Tokenizer::open(path, &tokenizer);
  if (outcome.ok()) *out = new pl_tokenizer{std::move(tokenizer)};
  return report(std::move(outcome));
}

void pl_tokenizer_close(pl_tokenizer* tokenizer) { delete tokenizer; }

pl_status pl_tokenizer_get_info(const pl_tokenizer* tokenizer, pl_tokenizer_info* info) {
  PL_REQUIRE(tokenizer);
  PL_REQUIRE(info);
  if (info->struct_size <= sizeof(size_t)) {
    return refuse("pl_tokenizer_get_info: info.struct_size: expected " + std::to_string(sizeof(*info)) + ", found " +
                  std::to_string(info->struct_size) + ": set it before the call");
  }
  const size_t size = info->struct_size;
  const pl_tokenizer_info facts = {size, tokenizer->tokenizer->data().settings.num_tokens,
                                   static_cast<int64_t>(tokenizer->tokenizer->file_bytes())};
  std::memcpy(info, &facts, std::min(size, sizeof(facts)));
  return PL_OK;
}

pl_status pl_tokenizer_encode(const pl_tokenizer* tokenizer, const char* text, size_t length,
                              int32_t add_special_tokens, int64_t* ids, size_t capacity, size_t* count) {
  PL_REQUIRE(tokenizer);
  PL_REQUIRE_ARRAY(text, length);
  PL_REQUIRE_ARRAY(ids, capacity);
  PL_REQUIRE(count);
  if (length > kLongestText) {
    return refuse("pl_tokenizer_encode: expected a text of at most " + std::to_string(kLongestText) + " bytes, found " +
                  std::to_string(length));
  }
  std::vector<int64_t> found;
  tokenizer->tokenizer->encode({text, length}, add_special_tokens != 0, &found);
  std::copy_n(found.begin(), std::min(capacity, found.size()), ids);
  *count = found.size();
  return PL_OK;
}

pl_status pl_tokenizer_decode(const pl_tokenizer* tokenizer, const int64_t* ids, size_t n, int32_t skip_special_tokens,
                              char* text, size_t capacity, size_t* length) {
  PL_REQUIRE(tokenizer);
  PL_REQUIRE_ARRAY(ids, n);
  PL_REQUIRE_ARRAY(text, capacity);
  PL_REQUIRE(length);
  std::string decoded;
  TextStream stream(tokenizer->tokenizer->data(), skip_special_tokens != 0);
  for (size_t i = 0; i < n; ++i) {
    if (ids[i] < 0) return refuse_id(__func__, ids[i]);
    stream.push(narrow(ids[i]), &decoded);
  }
  stream.flush(&decoded);
  std::copy_n(decoded.begin(), std::min(capacity, decoded.size()), text);
  *length = decoded.size();
  return PL_OK;
}

pl_status pl_text_stream_create(const pl_tokenizer* tokenizer, int32_t skip_special_tokens, pl_text_stream** out) {
  PL_REQUIRE(tokenizer);
  PL_REQUIRE(out);
  *out = new pl_text_stream{TextStream(tokenizer->tokenizer->data(), skip_special_tokens != 0), {}};
  return PL_OK;
}

void pl_text_stream_free(pl_text_stream* stream) { delete stream; }

pl_status pl_text_stream_push(pl_text_stream* stream, int64_t id, const char** text, size_t* length) {
  PL_REQUIRE(stream);
  PL_REQUIRE(text);
  PL_REQUIRE(length);
  if (id < 0) return refuse_id(__func__, id);
  stream->text.clear();
  stream->stream.push(narrow(id), &stream->text);
  give(stream, text, length);
  return PL_OK;
}

pl_status pl_text_stream_flush(pl_text_stream* stream, const char** text, size_t* length) {
  PL_REQUIRE(stream);
  PL_REQUIRE(text);
  PL_REQUIRE(length);
  stream->text.clear();
  stream->stream.flush(&stream->text);
  give(stream, text, length);
  return PL_OK;
}
