#include <cmath>

#include "kernels/attention/attention.h"

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

/** Row `j` of the cached rows followed by the new ones. */
const float* key_row(const float* cached, const float* fresh, int64_t past, int64_t j, int64_t stride) {
  return j < past ? cached + j * stride : fresh + (j - past) * stride;
}

void attend(const AttentionRows& rows, int64_t head, int64_t i) {
  const int64_t n_keys = rows.past + i + 1;
  const float* q = rows.q + i * rows.q_stride + head * rows.head_dim;
  float maximum = -INFINITY;
  for (int64_t j = 0; j < n_keys; ++j) {
    const float* k = key_row(rows.k_cache, rows.k, rows.past, j, rows.kv_stride);
    rows.scores[j] = rows.scale * dot(q, k, rows.head_dim);
    maximum = std::fmax(maximum, rows.scores[j]);
  }
  float* out = rows.out + i * rows.q_stride + head * rows.head_dim;
  for (int64_t d = 0; d < rows.head_dim; ++d) out[d] = 0;
  float sum = 0;
  for (int64_t j = 0; j < n_keys; ++j) {
    const float p = std::exp(rows.scores[j] - maximum);
    sum += p;
    add_scaled(out, p, key_row(rows.v_cache, rows.v, rows.past, j, rows.kv_stride), rows.head_dim);
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
  for (int64_t j = 0; j <= i; ++j) {
    const int64_t kv = j * rows.kv_stride;
    const float p = std::exp(rows.scale * dot(q, rows.k + kv, dim) - lse);
    const float ds = p * (dot(dout, rows.v + kv, dim) - delta) * rows.scale;
    add_scaled(dq, ds, rows.k + kv, dim);
    add_scaled(rows.dk + kv, ds, q, dim);
    add_scaled(rows.dv + kv, p, dout, dim);
  }
}

}  // namespace

void attention_rows_scalar(const AttentionRows& rows) {
  for (int64_t head = 0; head < rows.group; ++head) {
    for (int64_t i = rows.row_begin; i < rows.row_end; ++i) attend(rows, head, i);
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
