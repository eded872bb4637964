#include "selftest/recorded_step.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "adapters/adapter.h"
#include "common/splitmix64.h"
#include "session/session.h"
#include "trainer/trainer.h"

namespace pocketlora {
namespace {

constexpr int64_t kRank = 4, kTokens = 16;
constexpr uint64_t kSeed = 20240229;
constexpr size_t kLogits = 32;  ///< that are compared one by one; the norm is of all

/// B as well as A, so that neither's gradient is zero.
Result<std::shared_ptr<Adapter>> make_adapter(const Engine& engine, const SelfTestInput& input) {
  const auto& layout = engine.layout();
  PL_ASSIGN_OR_RETURN(std::shared_ptr<Adapter> adapter,
                      Adapter::create(layout, input.rank, static_cast<double>(input.rank), {}, input.seed));
  SplitMix64 random(input.seed + 1);
  for (size_t i = 0; i < layout->sites.size(); ++i) {
    const AdapterSite& site = adapter->tensors().sites()[i];
    const int64_t elements = layout->sites[i].out_features * site.rank;
    const float bound = 1.0F / std::sqrt(static_cast<float>(layout->sites[i].out_features));
    for (int64_t e = 0; e < elements; ++e) site.b[e] = (2.0F * random.next_unit() - 1.0F) * bound;
  }
  return adapter;
}

/// Adds a site's matrix to its layer's sum of squares.
Status add_squares(const Trainer& trainer, const AdapterSiteLayout& site, char matrix, int64_t rank, double* sum) {
  const int64_t features = matrix == 'A' ? site.in_features : site.out_features;
  std::vector<float> gradient(static_cast<size_t>(rank * features));
  PL_RETURN_IF_ERROR(trainer.get_gradient(peft_tensor_name(site.name, matrix), Span<float>(gradient)));
  for (const float value : gradient) *sum += static_cast<double>(value) * static_cast<double>(value);
  return Status();
}

Status run_training(const std::shared_ptr<Engine>& engine, const SelfTestInput& input, const Adapter::Pointer& adapter,
                    SelfTestOutcome* outcome) {
  TrainerOptions options;
  options.optimizer = PL_SGD;  // keeps nothing beside the gradients
  PL_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer, Trainer::create(engine, options, adapter));
  PL_ASSIGN_OR_RETURN(const StepReport report,
                      trainer->forward_backward({{input.tokens, input.tokens, input.segments}}));
  outcome->loss = report.loss;
  const AdapterLayout& layout = *engine->layout();
  outcome->gradient_norms.assign(static_cast<size_t>(engine->manifest().model.num_layers), 0.0);
  for (size_t i = 0; i < layout.sites.size(); ++i) {
    double* sum = &outcome->gradient_norms[static_cast<size_t>(layout.sites[i].layer)];
    for (const char matrix : {'A', 'B'}) {
      PL_RETURN_IF_ERROR(add_squares(*trainer, layout.sites[i], matrix, adapter->site(i).rank, sum));
    }
  }
  for (double& norm : outcome->gradient_norms) norm = std::sqrt(norm);
  return Status();
}

/// The norm of all logits, and some of them, evenly spread.
double sample_logits(Span<const float> logits, std::vector<double>* some) {
  double sum = 0.0;
  for (const float value : logits) sum += static_cast<double>(value) * static_cast<double>(value);
  const size_t count = std::min(kLogits, logits.size());
  some->clear();
  for (size_t i = 0; i < count; ++i) some->push_back(static_cast<double>(logits[i * logits.size() / count]));
  return std::sqrt(sum);
}

Status run_inference(const std::shared_ptr<Engine>& engine, const SelfTestInput& input, const Adapter::Pointer& adapter,
                     SelfTestOutcome* outcome) {
  const auto length = static_cast<size_t>(input.segments[1]);
  SessionOptions options;
  options.context_length = static_cast<int64_t>(length);
  options.compute = Compute::kFloat32;
  PL_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::create(engine, options));
  PL_RETURN_IF_ERROR(session->set_adapters({{adapter, 1.0F}}));
  PL_ASSIGN_OR_RETURN(const Span<const float> prefill, session->extend({input.tokens.data(), length - 1}));
  outcome->prefill_norm = sample_logits(prefill, &outcome->prefill_logits);
  PL_ASSIGN_OR_RETURN(const Span<const float> decode, session->extend({input.tokens.data() + length - 1, 1}));
  outcome->decode_norm = sample_logits(decode, &outcome->decode_logits);
  return Status();
}

/// Collects what is further off than a tolerance allows; NaN is.
struct Comparison {
  double tolerance;
  ProblemList problems;

  void check(const std::string& name, double expected, double found, double size) {
    if (std::fabs(found - expected) <= tolerance * size) return;
    problems.addf("%s: expected %.9g, found %.9g, allowed %.2g", name.c_str(), expected, found, tolerance * size);
  }
  void check_all(const std::string& name, const std::vector<double>& expected, const std::vector<double>& found,
                 double size) {
    if (found.size() != expected.size()) {
      problems.addf("%s: expected %zu values, found %zu", name.c_str(), expected.size(), found.size());
      return;
    }
    double worst = 0.0;
    size_t at = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const double off = std::fabs(found[i] - expected[i]);
      if (off <= worst) continue;
      worst = off;
      at = i;
      if (std::isnan(off)) break;
    }
    if (!expected.empty()) check(name + " " + std::to_string(at), expected[at], found[at], size);
  }
};

}  // namespace

SelfTestInput self_test_input(const Manifest& manifest) {
  const Limits& limits = manifest.limits;
  SelfTestInput input;
  input.rank = std::min(kRank, limits.max_rank);
  input.seed = kSeed;
  SplitMix64 random(kSeed);
  const int64_t count = std::min({kTokens, limits.train_t_max, limits.max_seq_len});
  for (int64_t i = 0; i < count; ++i) {
    input.tokens.push_back(static_cast<int64_t>(random.next() % static_cast<uint64_t>(manifest.model.vocab_size)));
  }
  input.segments = {0, count};
  if (limits.max_segments > 1 && count >= 4) input.segments.insert(input.segments.begin() + 1, count / 2 + 1);
  return input;
}

Result<SelfTestOutcome> run_self_test(const std::shared_ptr<Engine>& engine, const SelfTestInput& input) {
  PL_RETURN_IF_ERROR(check_batch({input.tokens, input.tokens, input.segments}, engine->manifest(), "the self-test"));
  if (input.segments.size() < 2 || input.segments[1] < 2) {
    return error(PL_INVALID_ARGUMENT, "the self-test: its first segment has fewer than 2 tokens");
  }
  PL_ASSIGN_OR_RETURN(const Adapter::Pointer adapter, make_adapter(*engine, input));
  SelfTestOutcome outcome;
  PL_RETURN_IF_ERROR(run_training(engine, input, adapter, &outcome));
  PL_RETURN_IF_ERROR(run_inference(engine, input, adapter, &outcome));
  return outcome;
}

Status compare_self_test(const SelfTestOutcome& expected, const SelfTestOutcome& found, double tolerance,
                         const std::string& what) {
  Comparison comparison{tolerance, {}};
  comparison.check("loss", expected.loss, found.loss, std::fabs(expected.loss));
  const auto& norms = expected.gradient_norms;
  if (norms.size() == found.gradient_norms.size()) {
    for (size_t i = 0; i < norms.size(); ++i) {
      comparison.check("gradient norm of layer " + std::to_string(i), norms[i], found.gradient_norms[i], norms[i]);
    }
  } else {
    comparison.problems.addf("gradients: expected %zu layers, found %zu", norms.size(), found.gradient_norms.size());
  }
  // A logit is held to the size of them all, as rounding is: the root mean square would hide one that is wrong alone.
  comparison.check("norm of the prefill's logits", expected.prefill_norm, found.prefill_norm, expected.prefill_norm);
  comparison.check_all("prefill logit", expected.prefill_logits, found.prefill_logits, expected.prefill_norm);
  comparison.check("norm of the decode's logits", expected.decode_norm, found.decode_norm, expected.decode_norm);
  comparison.check_all("decode logit", expected.decode_logits, found.decode_logits, expected.decode_norm);
  return comparison.problems.to_status(PL_BACKEND_SELF_TEST, what);
}

}  // namespace pocketlora
