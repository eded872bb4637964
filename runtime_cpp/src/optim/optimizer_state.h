#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

/// Equally long zeroed vectors, one value for each parameter. The zeros are the kernel's untouched pages until the
/// first step.
class OptimizerState {
 public:
  static Result<OptimizerState> allocate(size_t length, size_t num_vectors) {
    OptimizerState state(length, num_vectors);
    if (length * num_vectors == 0) return state;
    state.storage_.reset(static_cast<float*>(std::calloc(length * num_vectors, sizeof(float))));
    if (state.storage_ != nullptr) return state;
    return error(PL_OUT_OF_MEMORY, "no memory for the optimizer's state (%zu values)", length * num_vectors);
  }

  /// Vectors.
  size_t size() const { return num_vectors_; }
  Span<float> vector(size_t index) { return Span<float>(storage_.get() + index * length_, length_); }
  int64_t nbytes() const { return static_cast<int64_t>(length_ * num_vectors_ * sizeof(float)); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  OptimizerState(size_t length, size_t num_vectors) : length_(length), num_vectors_(num_vectors) {}

  std::unique_ptr<float, Free> storage_;
  size_t length_ = 0;
  size_t num_vectors_ = 0;
};

}  // namespace pocketlora
