// Trains an adapter on lines of text, saves it, loads it, and generates with and without it:
//   embed_cpp BUNDLE TEXTS ADAPTER     TEXTS: a text a line; ADAPTER: the folder to write
//
// One JSON line on stdout; errors on stderr, with the exit codes of docs/errors.md.
#include <pocketlora/pocketlora_tokenizer.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <pocketlora/pocketlora.hpp>
#include <string>
#include <vector>

namespace {
constexpr int kSteps = 20, kPrompt = 4, kNewTokens = 12;
using Tokens = std::vector<int64_t>;
using pocketlora::Error;  // a status and its message; true = something failed

// The tokenizer is a library of its own and keeps a message of its own.
Error tokenizer_error(pl_status status) { return {status, status == PL_OK ? "" : pl_tokenizer_last_error()}; }

Error encode(const pl_tokenizer* tokenizer, const std::string& text, Tokens* ids) {
  size_t count = 0;
  const pl_status status = pl_tokenizer_encode(tokenizer, text.data(), text.size(), 1, nullptr, 0, &count);
  if (status != PL_OK) return tokenizer_error(status);
  ids->resize(count);
  return tokenizer_error(pl_tokenizer_encode(tokenizer, text.data(), text.size(), 1, ids->data(), count, &count));
}

struct Rows {
  Tokens tokens, segments = {0};  // all rows one after the other, and where each begins; the end last
};

Error read_rows(const pl_tokenizer* tokenizer, const std::string& path, Rows* rows) {
  std::ifstream file(path);
  if (!file) return {PL_INPUT_MISSING, path + ": cannot be read"};
  for (std::string line; std::getline(file, line);) {
    Tokens ids;
    if (const Error error = encode(tokenizer, line, &ids)) return error;
    rows->tokens.insert(rows->tokens.end(), ids.begin(), ids.end());
    rows->segments.push_back(static_cast<int64_t>(rows->tokens.size()));
  }
  return rows->tokens.size() >= kPrompt ? Error() : Error{PL_INPUT_MALFORMED, path + ": expected at least 4 tokens"};
}

Error train(pl_engine* engine, const Rows& rows, const std::string& folder, double* first, double* last) {
  pl_trainer_options options = pocketlora::trainer_options();
  options.rank = 4;
  options.alpha = 8;
  options.learning_rate = 1e-2F;
  Error error;
  const auto trainer = pocketlora::create_trainer(engine, &options, nullptr, &error);
  if (!trainer) return error;
  const pl_batch batch = {sizeof(batch),        rows.tokens.data(), rows.tokens.data(),
                          rows.segments.data(), rows.tokens.size(), rows.segments.size() - 1};
  for (int step = 0; step < kSteps; ++step) {
    pl_step_report report = {};
    report.struct_size = sizeof(report);
    if (error = pocketlora::last_error(pl_trainer_step(trainer.get(), &batch, 1, &report)); error) return error;
    *(step == 0 ? first : last) = report.loss;
  }
  const auto adapter = pocketlora::trained_adapter(trainer.get(), &error);
  return adapter ? pocketlora::last_error(pl_adapter_save(adapter.get(), folder.c_str())) : error;
}

// A new text from the same prompt with these adapters, none = the bare base. Exchanging them loads nothing.
Error generate(pl_session* session, std::initializer_list<const pl_adapter*> adapters, const Rows& rows, Tokens* out) {
  pl_generate_options options = pocketlora::generate_options();
  options.max_new_tokens = kNewTokens;
  const pl_token_callback keep = [](int64_t token, void* user) -> int32_t {
    static_cast<Tokens*>(user)->push_back(token);
    return 0;  // anything else would stop
  };
  if (Error error = pocketlora::last_error(pl_session_reset(session)); error) return error;
  if (Error error = pocketlora::set_adapters(session, adapters); error) return error;
  return pocketlora::last_error(
      pl_session_generate(session, rows.tokens.data(), kPrompt, &options, keep, out, nullptr));
}

std::string list(const Tokens& tokens) {
  std::string text;
  for (const int64_t token : tokens) text += (text.empty() ? "" : ", ") + std::to_string(token);
  return "[" + text + "]";
}

Error run(const std::string& bundle, const std::string& texts, const std::string& folder) {
  Error error;
  const auto engine = pocketlora::open_engine(bundle, nullptr, &error);
  if (!engine) return error;
  pl_tokenizer* opened = nullptr;
  error = tokenizer_error(pl_tokenizer_open((bundle + "/tokenizer.plt").c_str(), &opened));
  const std::unique_ptr<pl_tokenizer, decltype(&pl_tokenizer_close)> tokenizer(opened, pl_tokenizer_close);
  Rows rows;
  double first = 0, last = 0;
  if (!error) error = read_rows(tokenizer.get(), texts, &rows);
  if (!error) error = train(engine.get(), rows, folder, &first, &last);
  if (error) return error;
  const auto adapter = pocketlora::load_adapter(engine.get(), folder, &error);
  if (!adapter) return error;
  const auto session = pocketlora::create_session(engine.get(), nullptr, &error);
  Tokens base, adapted, again;
  if (!error) error = generate(session.get(), {}, rows, &base);
  if (!error) error = generate(session.get(), {adapter.get()}, rows, &adapted);
  if (!error) error = generate(session.get(), {}, rows, &again);
  if (error) return error;
  std::printf("{\"steps\": %d, \"first_loss\": %.17g, \"last_loss\": %.17g, ", kSteps, first, last);
  std::printf("\"base\": %s, \"adapter\": %s, \"base_again\": %s}\n", list(base).c_str(), list(adapted).c_str(),
              list(again).c_str());
  return {};
}
}  // namespace

int main(int argc, char** argv) {
  Error error = {PL_INVALID_ARGUMENT, "usage: embed_cpp BUNDLE TEXTS ADAPTER"};
  if (argc == 4) error = run(argv[1], argv[2], argv[3]);
  if (!error) return 0;
  std::fprintf(stderr, "error: %s: %s\n", pl_status_name(error.status), error.message.c_str());
  return error.status < 800 ? error.status / 100 + 1 : 1;
}
