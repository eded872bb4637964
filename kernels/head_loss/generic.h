#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/common/simd_math.h"
#include "kernels/embedding/generic.h"
#include "kernels/head_loss/head_loss.h"
#include "kernels/q4/products.h"

namespace pocketlora {
namespace head {

/// Rows of W per chunk: a multiple of the row blocks of both products.
constexpr int64_t kChunk = 768;

/// What one row of h remembers of the vocabulary seen so far.
struct RowState {
  float maximum;
  float label_logit;
  double sum;
};

/// logits[j] = cap * tanh(logits[j] / cap).
template <class V>
void cap_logits(float* logits, int64_t count, float cap) {
  int64_t j = 0;
  for (; j + V::kLanes <= count; j += V::kLanes) {
    const auto t = simd_tanh<V>(V::mul(V::load(logits + j), V::set1(1.0f / cap)));
    V::store(logits + j, V::mul(t, V::set1(cap)));
  }
  for (; j < count; ++j) logits[j] = cap * std::tanh(logits[j] / cap);
}

/// The slope of a capped logit in the one before the cap.
template <class V>
float cap_slope(float capped, float cap) {
  const float t = capped / cap;
  return 1.0f - t * t;
}

/// Takes one chunk of a row's logits into `state` and turns them into exp(logit - maximum), times the slope of their
/// cap.
/// @return the factor by which what was summed before has to shrink.
template <class V, bool kCapped>
float absorb_chunk(float* logits, int64_t count, int64_t label, float cap, RowState& state) {
  using F = typename V::F;
  if constexpr (kCapped) cap_logits<V>(logits, count, cap);
  if (label >= 0 && label < count) state.label_logit = logits[label];
  F maxima = V::set1(state.maximum);
  int64_t j = 0;
  for (; j + V::kLanes <= count; j += V::kLanes) maxima = V::max(maxima, V::load(logits + j));
  float maximum = V::maximum(maxima);
  for (; j < count; ++j) maximum = logits[j] > maximum ? logits[j] : maximum;

  F sums = V::zero();
  for (j = 0; j + V::kLanes <= count; j += V::kLanes) {
    const F logit = V::load(logits + j), p = simd_exp<V>(V::sub(logit, V::set1(maximum)));
    sums = V::add(sums, p);
    if constexpr (kCapped) {
      const F t = V::div(logit, V::set1(cap));
      V::store(logits + j, V::mul(p, V::fnma(t, t, V::set1(1.0f))));
    } else {
      V::store(logits + j, p);
    }
  }
  float sum = V::sum(sums);
  for (; j < count; ++j) {
    const float p = std::exp(logits[j] - maximum);
    sum += p;
    logits[j] = kCapped ? p * cap_slope<V>(logits[j], cap) : p;
  }
  const float shrink = std::exp(state.maximum - maximum);
  state.sum = state.sum * static_cast<double>(shrink) + static_cast<double>(sum);
  state.maximum = maximum;
  return shrink;
}

template <class V>
void scale_row(float* row, int64_t count, float factor) {
  int64_t k = 0;
  for (; k + V::kLanes <= count; k += V::kLanes) V::store(row + k, V::mul(V::load(row + k), V::set1(factor)));
  for (; k < count; ++k) row[k] *= factor;
}

/// dh (+)= p * W, as `h` is packed for.
template <class V, class Rows>
void add_to_dh(const float* p, const Rows& h, const Q4Matrix& part, float* dh, bool accumulate) {
  const auto nothing = [](int64_t, int64_t) {};
  if constexpr (std::is_same_v<Rows, q4::Bf16Panels>) {
    q4::bf16_backward_product<V>(p, kChunk, h.n_rows, part, dh, accumulate, nothing);
  } else if constexpr (std::is_same_v<Rows, q4::BytePanels>) {
    q4::bytes_backward_product<V>(p, kChunk, h.n_rows, part, dh, accumulate, nothing);
  } else if constexpr (std::is_same_v<Rows, q4::FixedPanels>) {
    q4::fixed_backward_product<V>(p, kChunk, h.n_rows, part, dh, accumulate, nothing);
  } else {
    q4::backward_product<V>(p, kChunk, h.n_rows, part, dh, accumulate, nothing);
  }
}

/// Walks the vocabulary for rows of h that are packed in `h`: fills `states` and dh = sum of exp(logit - maximum) * W,
/// each term times the slope of the logit's cap. Both products are those that `h` is packed for.
/// @tparam Rows q4::PackedRows, q4::FixedPanels, q4::BytePanels or q4::Bf16Panels.
template <class V, bool kCapped, class Rows>
void walk_vocabulary(const Rows& h, const Q4Matrix& w, const float* bias, float softcap, const int64_t* labels,
                     RowState* states, float* dh) {
  ScratchFrame frame;
  float* logits = frame.floats(h.n_rows * kChunk);
  for (int64_t first = 0; first < w.rows; first += kChunk) {
    const Q4Matrix part = w.row_range(first, w.rows - first < kChunk ? w.rows - first : kChunk);
    q4::forward_product<V>(h, part, bias == nullptr ? nullptr : bias + first, logits, kChunk,
                           [](int64_t, int64_t, float*, int64_t) {});
    parallel_for(0, h.n_rows, 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float shrink =
            absorb_chunk<V, kCapped>(logits + i * kChunk, part.rows, labels[i] - first, softcap, states[i]);
        if (first > 0 && shrink != 1.0f) scale_row<V>(dh + i * w.cols, w.cols, shrink);
      }
    });
    add_to_dh<V>(logits, h, part, dh, first > 0);
  }
}

/// The same for rows of h that `dh` holds, as the thread asked for it.
template <class V, bool kCapped>
void walk_rows(int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap, const int64_t* labels,
               RowState* states, float* dh) {
  ScratchFrame frame;
  if constexpr (q4::kBf16Only<V>) {
    const q4::Bf16Panels packed = q4::pack_bf16<V>(dh, n_rows, w, frame);
    return walk_vocabulary<V, kCapped>(packed, w, bias, softcap, labels, states, dh);
  } else {
    if constexpr (!std::is_void_v<typename V::ManyBytes>) {
      if (active_compute() == Compute::kInt8) {
        const q4::BytePanels packed = q4::pack_bytes<V>(dh, n_rows, w, frame);
        return walk_vocabulary<V, kCapped>(packed, w, bias, softcap, labels, states, dh);
      }
    }
    if constexpr (V::Fixed::kManyRows) {
      if (active_compute() != Compute::kFloat32) {
        const q4::FixedPanels packed = q4::pack_fixed<V>(dh, n_rows, w, frame);
        return walk_vocabulary<V, kCapped>(packed, w, bias, softcap, labels, states, dh);
      }
    }
    const q4::PackedRows packed = q4::pack_rows<V>(dh, n_rows, w.cols, frame);
    walk_vocabulary<V, kCapped>(packed, w, bias, softcap, labels, states, dh);
  }
}

/// dh = weight * (dh / sum - slope * W[label]).
template <class V>
void finish_row(const Q4Matrix& w, int64_t label, float weight, float softcap, const RowState& state, float* dh) {
  ScratchFrame frame;
  float* row = frame.floats(w.cols);
  embedding_row<V>(w, label, row);
  const float inverse = static_cast<float>(1.0 / state.sum);
  const float slope = softcap > 0 ? cap_slope<V>(state.label_logit, softcap) : 1.0f;
  for (int64_t k = 0; k < w.cols; ++k) dh[k] = weight * (dh[k] * inverse - slope * row[k]);
}

/// One block of rows. Rows with a label are moved together at the front of `dh`, which serves as work space, and back.
/// @return the block's loss.
template <class V>
double block_loss(const float* h, int64_t count, const Q4Matrix& w, const float* bias, float softcap,
                  const int64_t* labels, const float* weights, float* logprobs, float* dh) {
  ScratchFrame frame;
  const size_t row_bytes = static_cast<size_t>(w.cols) * sizeof(float);
  int64_t* rows = frame.ints(count);
  int64_t* row_labels = frame.ints(count);
  int64_t active = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (labels[i] == kIgnoredLabel) continue;
    std::memcpy(dh + active * w.cols, h + i * w.cols, row_bytes);
    rows[active] = i;
    row_labels[active++] = labels[i];
  }
  RowState* states = static_cast<RowState*>(frame.bytes(static_cast<size_t>(count) * sizeof(RowState)));
  for (int64_t a = 0; a < active; ++a) states[a] = {-INFINITY, 0.0f, 0.0};
  if (active > 0) {
    const auto walk = softcap > 0 ? walk_rows<V, true> : walk_rows<V, false>;
    walk(active, w, bias, softcap, row_labels, states, dh);
  }
  parallel_for(0, active, 8, [&](int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a) {
      finish_row<V>(w, row_labels[a], weights[rows[a]], softcap, states[a], dh + a * w.cols);
    }
  });

  double loss = 0.0;
  int64_t a = active;
  for (int64_t i = count - 1; i >= 0; --i) {
    float* target = dh + i * w.cols;
    logprobs[i] = 0.0f;
    if (a == 0 || rows[a - 1] != i) {
      std::memset(target, 0, row_bytes);
      continue;
    }
    --a;
    if (a != i) std::memcpy(target, dh + a * w.cols, row_bytes);
    const double logprob = static_cast<double>(states[a].label_logit) - states[a].maximum - std::log(states[a].sum);
    logprobs[i] = static_cast<float>(logprob);
    loss -= static_cast<double>(weights[i]) * logprob;
  }
  return loss;
}

}  // namespace head

template <class V>
void head_loss_generic(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
                       const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh) {
  double total = 0.0;
  q4::for_row_blocks(n_rows, [&](int64_t first, int64_t count) {
    total += head::block_loss<V>(h + first * w.cols, count, w, bias, softcap, labels + first, weights + first,
                                 logprobs + first, dh + first * w.cols);
  });
  *loss = static_cast<float>(total);
}

}  // namespace pocketlora
