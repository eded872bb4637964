#include "kernels/adafactor/adafactor.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/common/scratch.h"

namespace pocketlora {
namespace {

constexpr KernelEntry<AdafactorKernel> kKernels[] = {
#define PL_KERNEL(isa, squares, norm, apply) {Isa::isa, #squares, {squares, norm, apply}},
#include "kernels/adafactor/kernels.inc"
#undef PL_KERNEL
};

// Rows of a task: sums are formed in the same order whatever the threads.
constexpr int64_t kRows = 128;

/** The matrix in tasks of whole rows. */
struct Tasks {
  int64_t rows, cols;

  int64_t count() const { return (rows + kRows - 1) / kRows; }
  template <class F>
  void run(F f) const {
    parallel_for(0, count(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) f(task, task * kRows, std::min(kRows, rows - task * kRows));
    });
  }
};

/** state ← β·state + (1 − β)·(mean + ε), in fp32 as transformers has it. */
void move_state(float* state, int64_t n, double beta, double epsilon, const double* sums, int64_t count) {
  for (int64_t i = 0; i < n; ++i) {
    const float mean = static_cast<float>(sums[i] / static_cast<double>(count) + epsilon);
    state[i] = state[i] * static_cast<float>(beta) + static_cast<float>(1.0 - beta) * mean;
  }
}

double mean_of(const float* values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(values[i]);
  return sum / static_cast<double>(n);
}

}  // namespace

void adafactor(float* params, const float* grads, float* row_state, float* col_state, int64_t rows, int64_t cols,
               const AdafactorOptions& o, Isa isa) {
  if (rows == 0 || cols == 0) return;
  const AdafactorKernel& kernel = select_kernel(kKernels, isa);
  const Tasks tasks{rows, cols};
  ScratchFrame scratch;
  double* row_sums = scratch.doubles(rows);
  double* col_sums = scratch.doubles(cols);
  double* partial = scratch.doubles(tasks.count());
  float* col_parts = scratch.floats(tasks.count() * cols);
  float* row_factors = scratch.floats(rows);
  float* col_factors = scratch.floats(cols);

  tasks.run([&](int64_t task, int64_t row, int64_t count) {
    kernel.squares(grads + row * cols, count, cols, row_sums + row, col_parts + task * cols);
  });
  std::fill_n(col_sums, cols, 0.0);
  for (int64_t task = 0; task < tasks.count(); ++task) {
    for (int64_t j = 0; j < cols; ++j) col_sums[j] += static_cast<double>(col_parts[task * cols + j]);
  }
  const double beta = 1.0 - std::pow(static_cast<double>(o.step), o.decay_rate);
  move_state(row_state, rows, beta, o.epsilon, row_sums, cols);
  move_state(col_state, cols, beta, o.epsilon, col_sums, rows);

  const double row_mean = mean_of(row_state, rows);
  for (int64_t i = 0; i < rows; ++i) row_factors[i] = static_cast<float>(1.0 / std::sqrt(row_state[i] / row_mean));
  for (int64_t j = 0; j < cols; ++j) col_factors[j] = 1.0f / std::sqrt(col_state[j]);
  tasks.run([&](int64_t task, int64_t row, int64_t count) {
    partial[task] = kernel.norm(grads + row * cols, row_factors + row, col_factors, count, cols);
  });
  double squares = 0;
  for (int64_t task = 0; task < tasks.count(); ++task) squares += partial[task];
  const double rms = std::sqrt(squares / (static_cast<double>(rows) * static_cast<double>(cols)));
  const double step = o.learning_rate / std::max(1.0, rms / o.clip_threshold);
  const float decay = static_cast<float>(1.0 - o.learning_rate * o.weight_decay);
  tasks.run([&](int64_t, int64_t row, int64_t count) {
    kernel.apply(params + row * cols, grads + row * cols, row_factors + row, col_factors, count, cols, decay,
                 static_cast<float>(step));
  });
}

void adafactor(float* params, const float* grads, float* row_state, float* col_state, int64_t rows, int64_t cols,
               const AdafactorOptions& options) {
  adafactor(params, grads, row_state, col_state, rows, cols, options, active_isa());
}

}  // namespace pocketlora
