#include <cmath>
#include <cstdio>
#include <memory>

#include "batching.h"
#include "commands.h"
#include "events.h"
#include "interrupt.h"

namespace pocketlora_run {
namespace {

struct EvalOptions {
  BundleOptions bundle;
  std::string data, adapter;
  bool logprobs = false;
};

// {"token_ids": [...], "logprobs": [null, ...]} of one row: the first token is predicted from nothing.
Json row_json(const MicroBatch& batch, size_t row, const std::vector<float>& logprobs) {
  Json ids = Json::array();
  Json values = Json::array();
  for (int64_t i = batch.segments[row]; i < batch.segments[row + 1]; ++i) {
    const auto at = static_cast<size_t>(i);
    ids.push_back(batch.tokens[at]);
    values.push_back(i == batch.segments[row] ? Json() : Json(logprobs[at]));
  }
  return {{"token_ids", std::move(ids)}, {"logprobs", std::move(values)}};
}

void run_eval(const EvalOptions& options) {
  const Engine engine = options.bundle.open();
  const pl_engine_info info = engine_info(engine.get());
  const std::vector<Row> rows = read_rows(options.data, {info.vocab_size, info.train_t_max, info.max_segments});
  Adapter adapter;
  if (!options.adapter.empty()) adapter = load_adapter(engine.get(), options.adapter);
  const pl_adapter_ref ref = {adapter.get(), 1.0F};

  std::vector<const Row*> in_order;
  in_order.reserve(rows.size());
  for (const Row& row : rows) in_order.push_back(&row);
  double sum_nll = 0;
  int64_t labels = 0;
  Json row_values = Json::array();
  for (const MicroBatch& batch : pack(in_order, {info.train_t_max, info.max_segments})) {
    stop_if_interrupted();
    const pl_batch view = batch.view();
    std::vector<float> logprobs(options.logprobs ? batch.tokens.size() : 0);
    pl_eval_report report = {};
    report.struct_size = sizeof(report);
    check(pl_engine_evaluate(engine.get(), &ref, adapter ? 1 : 0, &view, options.logprobs ? logprobs.data() : nullptr,
                             &report));
    sum_nll += report.sum_nll;
    labels += report.num_labels;
    for (size_t row = 0; options.logprobs && row < batch.num_rows(); ++row)
      row_values.push_back(row_json(batch, row, logprobs));
  }
  const double loss = sum_nll / static_cast<double>(labels);
  Json result = {{"loss", loss}, {"perplexity", std::exp(loss)}, {"tokens", labels}};
  if (options.logprobs) result["rows"] = std::move(row_values);
  print_json(result);
  std::fprintf(stderr, "loss %.6f, perplexity %.4f over %lld tokens\n", loss, std::exp(loss),
               static_cast<long long>(labels));
}

}  // namespace

void add_eval(CLI::App* app) {
  CLI::App* command = app->add_subcommand("eval", "Loss, perplexity and log-probabilities of rows of token ids");
  const auto o = std::make_shared<EvalOptions>();
  o->bundle.add_to(command);
  command->add_option("--data", o->data, "Rows: {\"token_ids\": [...], \"labels\": [...]} (JSONL)")->required();
  command->add_option("--adapter", o->adapter, "PEFT folder of an adapter");
  command->add_flag("--logprobs", o->logprobs, "Also print the log-probability of every token");
  command->callback([o] { run_eval(*o); });
}

}  // namespace pocketlora_run
