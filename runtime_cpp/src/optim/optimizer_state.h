#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

/// One vector of an optimizer's state, as checkpoints keep it.
struct StateVector {
  std::string name;
  const char* dtype = "F32";  ///< or "U8", as safetensors writes it
  int64_t size = 0;           ///< elements
  uint8_t* data = nullptr;

  size_t nbytes() const { return static_cast<size_t>(size) * (dtype[0] == 'F' ? sizeof(float) : sizeof(uint8_t)); }
  float* floats() const { return reinterpret_cast<float*>(data); }
};

/// Zeroed vectors in one allocation. The zeros are the kernel's untouched pages until the first step.
class OptimizerState {
 public:
  /// @param vectors their names, types and sizes; empty ones take nothing.
  static Result<OptimizerState> allocate(std::vector<StateVector> vectors) {
    OptimizerState state;
    size_t total = 0;
    for (const StateVector& vector : vectors) total += in_lines(vector.nbytes());
    if (total > 0) state.storage_.reset(static_cast<uint8_t*>(std::calloc(total, 1)));
    if (total > 0 && state.storage_ == nullptr) {
      return error(PL_OUT_OF_MEMORY, "no memory for the optimizer's state (%zu bytes)", total);
    }
    uint8_t* next = state.storage_.get();
    for (StateVector& vector : vectors) {
      vector.data = next;
      next += in_lines(vector.nbytes());
      state.nbytes_ += static_cast<int64_t>(vector.nbytes());
    }
    state.vectors_ = std::move(vectors);
    return state;
  }

  const std::vector<StateVector>& vectors() const { return vectors_; }
  const StateVector& operator[](size_t index) const { return vectors_[index]; }
  int64_t nbytes() const { return nbytes_; }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  OptimizerState() = default;
  static size_t in_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

  std::unique_ptr<uint8_t, Free> storage_;
  std::vector<StateVector> vectors_;
  int64_t nbytes_ = 0;
};

}  // namespace pocketlora
