#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/attention/attention.h"
#include "kernels/common/half.h"
#include "kernels/common/scratch.h"

namespace pocketlora {
namespace {

float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t d = 0; d < n; ++d) sum += a[d] * b[d];
  return sum;
}

void add_scaled(float* y, float factor, const float* x, int64_t n) {
  for (int64_t d = 0; d < n; ++d) y[d] += factor * x[d];
}

/** Key or value `j`, counted from the first cached one, as floats. */
void read_row(const AttentionRows& rows, const uint8_t* cached, const uint8_t* fresh, int64_t j, float* out) {
  const uint8_t* head = j < rows.past ? cached + j * rows.kv_bytes : fresh + (j - rows.past) * rows.kv_bytes;
  float scale = 1;
  switch (rows.format) {
    case CacheFormat::kFloat32:
      std::memcpy(out, head, static_cast<size_t>(rows.head_dim) * sizeof(float));
      return;
    case CacheFormat::kFloat16:
      for (int64_t d = 0; d < rows.head_dim; ++d) {
        uint16_t half;
        std::memcpy(&half, head + 2 * d, sizeof(half));
        out[d] = half_to_float(half);
      }
      return;
    case CacheFormat::kInt8:
      std::memcpy(&scale, head, sizeof(scale));
      head += sizeof(scale);
      for (int64_t d = 0; d < rows.head_dim; ++d) out[d] = scale * static_cast<float>(static_cast<int8_t>(head[d]));
  }
}

/** A score from its product: scaled, and capped where there is a cap. */
float score_of(float product, float scale, float softcap) {
  const float score = scale * product;
  return softcap > 0 ? softcap * std::tanh(score / softcap) : score;
}

void attend(const AttentionRows& rows, int64_t head, int64_t i, float* row) {
  const int64_t first = rows.first_key(i), end = rows.past + i + 1;
  const float* q = rows.q + i * rows.q_stride + head * rows.head_dim;
  float maximum = -INFINITY;
  for (int64_t j = first; j < end; ++j) {
    read_row(rows, rows.k_cache, rows.k, j, row);
    rows.scores[j - first] = score_of(dot(q, row, rows.head_dim), rows.scale, rows.softcap);
    maximum = std::fmax(maximum, rows.scores[j - first]);
  }
  float* out = rows.out + i * rows.q_stride + head * rows.head_dim;
  for (int64_t d = 0; d < rows.head_dim; ++d) out[d] = 0;
  float sum = 0;
  for (int64_t j = first; j < end; ++j) {
    const float p = std::exp(rows.scores[j - first] - maximum);
    sum += p;
    read_row(rows, rows.v_cache, rows.v, j, row);
    add_scaled(out, p, row, rows.head_dim);
  }
  for (int64_t d = 0; d < rows.head_dim; ++d) out[d] /= sum;
  if (rows.lse != nullptr) rows.lse[i * rows.lse_stride + head] = maximum + std::log(sum);
}

void add_row_gradients(const AttentionGradRows& rows, int64_t head, int64_t i) {
  const int64_t dim = rows.head_dim, at = i * rows.q_stride + head * dim;
  const float *q = rows.q + at, *dout = rows.dout + at;
  float* dq = rows.dq + at;
  const float lse = rows.lse[i * rows.lse_stride + head];
  const float delta = dot(dout, rows.out + at, dim);
  for (int64_t d = 0; d < dim; ++d) dq[d] = 0;
  for (int64_t j = rows.window > 0 ? std::max<int64_t>(0, i + 1 - rows.window) : 0; j <= i; ++j) {
    const int64_t kv = j * rows.kv_stride;
    const float score = score_of(dot(q, rows.k + kv, dim), rows.scale, rows.softcap);
    const float p = std::exp(score - lse), capped = rows.softcap > 0 ? score / rows.softcap : 0;
    const float ds = p * (dot(dout, rows.v + kv, dim) - delta) * rows.scale * (1 - capped * capped);
    add_scaled(dq, ds, rows.k + kv, dim);
    add_scaled(rows.dk + kv, ds, q, dim);
    add_scaled(rows.dv + kv, p, dout, dim);
  }
}

void store_half(float value, uint8_t* stored) {
  constexpr float kLargestHalf = 65504.0f;
  const uint16_t half = float_to_half(value > kLargestHalf    ? kLargestHalf
                                      : value < -kLargestHalf ? -kLargestHalf
                                                              : value);
  std::memcpy(stored, &half, sizeof(half));
}

void store_int8(const float* head, int64_t n, uint8_t* stored) {
  float largest = 0;
  for (int64_t d = 0; d < n; ++d) largest = std::fmax(largest, std::fabs(head[d]));
  const float scale = largest / 127.0f;
  std::memcpy(stored, &scale, sizeof(scale));
  stored += sizeof(scale);
  for (int64_t d = 0; d < n; ++d) {
    const float value = scale > 0 && std::isfinite(scale) ? std::nearbyint(head[d] / scale) : 0.0f;
    // What is not a number has no integer.
    stored[d] =
        static_cast<uint8_t>(std::isnan(value) ? 0 : static_cast<int>(std::fmax(-127.0f, std::fmin(value, 127.0f))));
  }
}

}  // namespace

void store_cache_head_scalar(CacheFormat format, const float* head, int64_t head_dim, uint8_t* stored) {
  switch (format) {
    case CacheFormat::kFloat32:
      std::memcpy(stored, head, static_cast<size_t>(head_dim) * sizeof(float));
      return;
    case CacheFormat::kFloat16:
      for (int64_t d = 0; d < head_dim; ++d) store_half(head[d], stored + 2 * d);
      return;
    case CacheFormat::kInt8:
      return store_int8(head, head_dim, stored);
  }
}

void attention_rows_scalar(const AttentionRows& rows) {
  ScratchFrame scratch;
  float* row = scratch.floats(rows.head_dim);
  for (int64_t head = 0; head < rows.group; ++head) {
    for (int64_t i = rows.row_begin; i < rows.row_end; ++i) attend(rows, head, i, row);
  }
}

void attention_grad_rows_scalar(const AttentionGradRows& rows) {
  for (int64_t j = 0; j < rows.n_rows; ++j) {
    for (int64_t d = 0; d < rows.head_dim; ++d) rows.dk[j * rows.kv_stride + d] = rows.dv[j * rows.kv_stride + d] = 0;
  }
  for (int64_t head = 0; head < rows.group; ++head) {
    for (int64_t i = 0; i < rows.n_rows; ++i) add_row_gradients(rows, head, i);
  }
}

}  // namespace pocketlora
