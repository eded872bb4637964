#include "texts.h"

#include <algorithm>

namespace pocketlora_run {
namespace {

std::string path_in(const std::string& bundle) { return bundle + "/tokenizer.plt"; }

void check_tokenizer(pl_status status) {
  if (status != PL_OK) throw ToolError(status, pl_tokenizer_last_error());
}

}  // namespace

std::unique_ptr<Texts> Texts::open_if_any(const std::string& bundle) {
  pl_tokenizer* tokenizer = nullptr;
  const pl_status status = pl_tokenizer_open(path_in(bundle).c_str(), &tokenizer);
  if (status == PL_BUNDLE_MISSING_FILE) return nullptr;
  check_tokenizer(status);
  return std::unique_ptr<Texts>(new Texts(tokenizer));
}

std::unique_ptr<Texts> Texts::open(const std::string& bundle) {
  std::unique_ptr<Texts> texts = open_if_any(bundle);
  if (texts == nullptr) {
    throw ToolError(PL_INPUT_UNSUPPORTED,
                    path_in(bundle) + ": there is no such file, so the bundle takes token ids only");
  }
  return texts;
}

std::vector<int64_t> Texts::encode(const std::string& text, bool add_special_tokens) const {
  std::vector<int64_t> ids(text.size() + 16);
  size_t count = 0;
  for (;;) {
    check_tokenizer(pl_tokenizer_encode(tokenizer_.get(), text.data(), text.size(), add_special_tokens ? 1 : 0,
                                        ids.data(), ids.size(), &count));
    const bool fits = count <= ids.size();
    ids.resize(count);
    if (fits) return ids;
  }
}

std::vector<int64_t> Texts::encode_prompt(const std::string& text, const std::vector<int64_t>& end_tokens) const {
  std::vector<int64_t> ids = encode(text, true);
  const auto ends = [&](int64_t id) { return std::find(end_tokens.begin(), end_tokens.end(), id) != end_tokens.end(); };
  while (ids.size() > 1 && ends(ids.back())) ids.pop_back();
  return ids;
}

Texts::Stream::Stream(const Texts& texts, const std::vector<int64_t>& before) {
  pl_text_stream* stream = nullptr;
  check_tokenizer(pl_text_stream_create(texts.tokenizer_.get(), 1, &stream));
  stream_.reset(stream);
  for (const int64_t id : before) push(id);
}

std::string Texts::Stream::push(int64_t id) {
  const char* text = nullptr;
  size_t length = 0;
  check_tokenizer(pl_text_stream_push(stream_.get(), id, &text, &length));
  return std::string(text, length);
}

std::string Texts::Stream::flush() {
  const char* text = nullptr;
  size_t length = 0;
  check_tokenizer(pl_text_stream_flush(stream_.get(), &text, &length));
  return std::string(text, length);
}

}  // namespace pocketlora_run
