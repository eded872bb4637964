#include "optim/optimizers.h"

#include "kernels/adafactor/adafactor.h"
#include "kernels/adamw8bit/adamw8bit.h"
#include "kernels/optim/optim.h"

namespace pocketlora {
namespace {

using Shapes = std::vector<MatrixShape>;
using Groups = std::vector<ParameterGroup>;

int64_t total(const Shapes& shapes) {
  int64_t sum = 0;
  for (const MatrixShape& shape : shapes) sum += shape.size();
  return sum;
}

StateVector floats(const char* name, int64_t size) { return {name, "F32", size, nullptr}; }

AdamWOptions adamw_options(const OptimizerOptions& o, double learning_rate, int64_t step) {
  return {learning_rate,         as_written(o.beta1),        as_written(o.beta2),
          as_written(o.epsilon), as_written(o.weight_decay), step};
}

bool kept_in_8_bits(int64_t size) { return size >= 4096 && size % kMomentBlock == 0; }

}  // namespace

std::vector<StateVector> AdamW::vectors(const OptimizerOptions&, const Shapes& shapes) {
  return {floats("exp_avg", total(shapes)), floats("exp_avg_sq", total(shapes))};
}

void AdamW::update(const Groups& groups) {
  const AdamWOptions scalars = adamw_options(options_, learning_rate_, steps_);
  float* first = state_[0].floats();
  float* second = state_[1].floats();
  for (const ParameterGroup& group : groups) {
    const auto n = static_cast<int64_t>(group.parameters.size());
    adamw(group.parameters.data(), group.gradients.data(), first, second, n, scalars);
    first += n;
    second += n;
  }
}

std::vector<StateVector> AdamW8bit::vectors(const OptimizerOptions&, const Shapes& shapes) {
  int64_t small = 0, large = 0;
  for (const MatrixShape& shape : shapes) (kept_in_8_bits(shape.size()) ? large : small) += shape.size();
  return {{"exp_avg.codes", "U8", large, nullptr},
          floats("exp_avg.scales", large / kMomentBlock),
          {"exp_avg_sq.codes", "U8", large, nullptr},
          floats("exp_avg_sq.scales", large / kMomentBlock),
          floats("exp_avg", small),
          floats("exp_avg_sq", small)};
}

void AdamW8bit::update(const Groups& groups) {
  const AdamWOptions scalars = adamw_options(options_, learning_rate_, steps_);
  Moment8 first = {state_[0].data, state_[1].floats()};
  Moment8 second = {state_[2].data, state_[3].floats()};
  float* small_first = state_[4].floats();
  float* small_second = state_[5].floats();
  for (const ParameterGroup& group : groups) {
    const auto n = static_cast<int64_t>(group.parameters.size());
    if (kept_in_8_bits(n)) {
      adamw8bit(group.parameters.data(), group.gradients.data(), first, second, n, scalars);
      first = {first.codes + n, first.scales + n / kMomentBlock};
      second = {second.codes + n, second.scales + n / kMomentBlock};
    } else {
      adamw(group.parameters.data(), group.gradients.data(), small_first, small_second, n, scalars);
      small_first += n;
      small_second += n;
    }
  }
}

std::vector<StateVector> Adafactor::vectors(const OptimizerOptions&, const Shapes& shapes) {
  int64_t rows = 0, cols = 0;
  for (const MatrixShape& shape : shapes) {
    rows += shape.rows;
    cols += shape.cols;
  }
  return {floats("exp_avg_sq_row", rows), floats("exp_avg_sq_col", cols)};
}

void Adafactor::update(const Groups& groups) {
  const AdafactorOptions scalars = {learning_rate_, as_written(options_.weight_decay), steps_};
  float* row = state_[0].floats();
  float* col = state_[1].floats();
  for (size_t i = 0; i < groups.size(); ++i) {
    const MatrixShape& shape = shapes_[i];
    adafactor(groups[i].parameters.data(), groups[i].gradients.data(), row, col, shape.rows, shape.cols, scalars);
    row += shape.rows;
    col += shape.cols;
  }
}

std::vector<StateVector> Lion::vectors(const OptimizerOptions&, const Shapes& shapes) {
  return {floats("exp_avg", total(shapes))};
}

void Lion::update(const Groups& groups) {
  const LionOptions scalars = {learning_rate_, as_written(options_.beta1), as_written(options_.beta2),
                               as_written(options_.weight_decay)};
  float* momentum = state_[0].floats();
  for (const ParameterGroup& group : groups) {
    const auto n = static_cast<int64_t>(group.parameters.size());
    lion(group.parameters.data(), group.gradients.data(), momentum, n, scalars);
    momentum += n;
  }
}

std::vector<StateVector> Sgd::vectors(const OptimizerOptions& options, const Shapes& shapes) {
  if (options.momentum == 0) return {};
  return {floats("momentum_buffer", total(shapes))};
}

void Sgd::update(const Groups& groups) {
  const SgdOptions scalars = {learning_rate_, as_written(options_.momentum), as_written(options_.weight_decay)};
  float* momentum = state().empty() ? nullptr : state_[0].floats();
  for (const ParameterGroup& group : groups) {
    const auto n = static_cast<int64_t>(group.parameters.size());
    sgd(group.parameters.data(), group.gradients.data(), momentum, n, scalars);
    if (momentum != nullptr) momentum += n;
  }
}

}  // namespace pocketlora
