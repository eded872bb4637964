#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/common/isa.h"
#include "kernels/common/test_threads.h"

/// What the kernels' tests share: buffers between guard pages, seeded random numbers, derived tolerances.
namespace pocketlora::test {

/// `count` elements with an unreadable page directly behind them and one before them: a kernel that reads or writes
/// beyond its buffer crashes. Filled with a pattern of NaNs so that what a kernel forgets to write shows.
template <typename T>
class Guarded {
 public:
  explicit Guarded(int64_t count) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    const size_t body = (bytes + page - 1) / page * page;
    size_ = body + 2 * page;
    base_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) std::abort();
    if (mprotect(base_, page, PROT_NONE) != 0 || mprotect(base_ + page + body, page, PROT_NONE) != 0) std::abort();
    data_ = reinterpret_cast<T*>(base_ + page + body - bytes);
    std::memset(base_ + page, 0xFF, body);
    slack_ = static_cast<size_t>(reinterpret_cast<char*>(data_) - (base_ + page));
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(static_cast<int64_t>(values.size())) {
    for (int64_t i = 0; i < count_; ++i) data_[i] = values[static_cast<size_t>(i)];
  }
  ~Guarded() {
    // The bytes between the page's start and the buffer cannot be guarded: they must be untouched.
    const char* before = reinterpret_cast<char*>(data_) - slack_;
    for (size_t i = 0; i < slack_; ++i) {
      if (before[i] != static_cast<char>(0xFF)) {
        ADD_FAILURE() << "written " << slack_ - i << " bytes before a buffer";
        break;
      }
    }
    munmap(base_, size_);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return count_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  int64_t count_;
  char* base_;
  size_t size_;
  T* data_;
  size_t slack_;
};

/// Normally distributed values from a fixed seed.
inline std::vector<float> random_floats(int64_t count, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

/// Runs `work(out)` serially and on several threads and expects the same bits in its `count` results.
template <typename Work>
void expect_same_on_threads(int64_t count, const std::string& where, Work&& work) {
  Guarded<float> serial(count), threaded(count);
  work(serial.data());
  {
    const ScatteredThreads threads;
    work(threaded.data());
  }
  EXPECT_EQ(std::memcmp(serial.data(), threaded.data(), static_cast<size_t>(count) * sizeof(float)), 0) << where;
}

/// gamma_(length + slack) of sum_bound(), for loops that bound many sums of the same length.
inline double sum_factor(int64_t length, int64_t slack = 8) {
  const double u = std::numeric_limits<float>::epsilon() / 2;
  const double nu = static_cast<double>(length + slack) * u;
  return nu / (1 - nu);
}

/// The bound on the rounding error of a fp32 sum of `length` products in any order: (length + slack) * eps * magnitude,
/// where `magnitude` is the sum of the products' absolute values and `slack` counts the roundings that are not of that
/// sum (Higham, Accuracy and Stability, section 3.1: gamma_n = n*u / (1 - n*u), u = eps / 2).
inline double sum_bound(int64_t length, double magnitude, int64_t slack = 8) {
  return sum_factor(length, slack) * magnitude + std::numeric_limits<float>::denorm_min();
}

/// Expects |actual - expected| <= bound, and says where not. @param where a text, or a function that makes it: for
/// millions of elements the texts take longer than what they are about. @return whether it is so.
template <typename Where>
bool expect_near(double actual, double expected, double bound, const Where& where) {
  if (std::abs(actual - expected) <= bound) return true;
  std::string place;
  if constexpr (std::is_invocable_v<Where>) {
    place = where();
  } else {
    place = where;
  }
  ADD_FAILURE() << place << ": expected " << expected << ", found " << actual << ", difference " << actual - expected
                << ", bound " << bound;
  return false;
}

}  // namespace pocketlora::test
