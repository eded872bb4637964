#include <algorithm>

#include "kernels/common/scratch.h"
#include "kernels/linear4/linear4.h"
#include "kernels/lora_linear/lora_linear.h"

namespace pocketlora {
namespace {

/// The factor of element (i, j) of the LoRA branch's input.
class Mask {
 public:
  explicit Mask(const Dropout* dropout) : dropout_(dropout), key_(dropout == nullptr ? 0 : dropout_key(*dropout)) {}
  float operator()(int64_t i, int64_t j) const {
    return dropout_ == nullptr ? 1.0f : dropout_factor(key_, dropout_->p, i, j);
  }

 private:
  const Dropout* dropout_;
  uint32_t key_;
};

/// t[i, r] = scale[r] * sum_k drop(x)[i, k] * a[r, k].
void down(const float* x, int64_t n_rows, int64_t cols, const LoraSite& lora, const Mask& mask, float* t) {
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t r = 0; r < lora.rank; ++r) {
      float sum = 0.0f;
      for (int64_t k = 0; k < cols; ++k) sum += mask(i, k) * x[i * cols + k] * lora.a[r * cols + k];
      t[i * lora.rank + r] = sum * lora.scale[r];
    }
  }
}

}  // namespace

void lora_linear_scalar(const float* x, int64_t n_rows, const Q4Matrix& w, const float* bias, const LoraSite& lora,
                        const Dropout* dropout, float* y) {
  linear4_scalar(x, n_rows, w, bias, y);
  if (lora.rank == 0) return;
  ScratchFrame frame;
  float* t = frame.floats(n_rows * lora.rank);
  down(x, n_rows, w.cols, lora, Mask(dropout), t);
  for (int64_t i = 0; i < n_rows; ++i) {
    for (int64_t n = 0; n < w.rows; ++n) {
      for (int64_t r = 0; r < lora.rank; ++r) y[i * w.rows + n] += t[i * lora.rank + r] * lora.b[n * lora.rank + r];
    }
  }
}

void lora_linear_backward_scalar(const float* dy, const float* x, int64_t n_rows, const Q4Matrix& w,
                                 const LoraSite& lora, const Dropout* dropout, float* dx, float* da, float* db) {
  linear4_backward_scalar(dy, n_rows, w, dx);
  if (lora.rank == 0) return;
  const Mask mask(dropout);
  const int64_t rank = lora.rank;
  ScratchFrame frame;
  float* s = frame.floats(rank);
  float* t = frame.floats(n_rows * rank);
  down(x, n_rows, w.cols, lora, mask, t);
  std::fill(da, da + rank * w.cols, 0.0f);
  std::fill(db, db + w.rows * rank, 0.0f);
  for (int64_t i = 0; i < n_rows; ++i) {
    std::fill(s, s + rank, 0.0f);
    for (int64_t n = 0; n < w.rows; ++n) {
      const float g = dy[i * w.rows + n];
      for (int64_t r = 0; r < rank; ++r) {
        s[r] += g * lora.b[n * rank + r] * lora.scale[r];
        db[n * rank + r] += g * t[i * rank + r];
      }
    }
    for (int64_t k = 0; k < w.cols; ++k) {
      const float kept = mask(i, k);
      for (int64_t r = 0; r < rank; ++r) {
        dx[i * w.cols + k] += kept * s[r] * lora.a[r * w.cols + k];
        da[r * w.cols + k] += s[r] * kept * x[i * w.cols + k];
      }
    }
  }
}

}  // namespace pocketlora
