#include "kernels/attention/attention.h"
#include "kernels/executorch/checks.h"
#include "kernels/executorch/ops.h"

namespace pocketlora::boxed {
namespace {

/** Checks q, k and v [N, heads · head_dim] against each other. Heads are 0 where head_dim is not positive. */
AttentionShape check_qkv(Checker& check, const Tensor& q, const Tensor& k, const Tensor& v, int64_t head_dim,
                         double scale, int64_t window, double softcap) {
  const int64_t rows = size_at(q, 0), kv_width = size_at(k, 1);
  check.f32("q", q, {kAny, kAny});
  check.f32("k", k, {rows, kAny});
  check.f32("v", v, {rows, kv_width});
  check.expect(head_dim > 0, "a positive head_dim");
  check.expect(window >= 0, "a window of 0 (none) or more");
  check.expect(softcap >= 0, "a softcap of 0 (none) or more");
  AttentionShape shape{rows, 0, 0, head_dim, static_cast<float>(scale), window, static_cast<float>(softcap)};
  if (!check.ok()) return shape;
  shape.num_heads = size_at(q, 1) / head_dim;
  shape.num_kv_heads = kv_width / head_dim;
  check.expect(size_at(q, 1) % head_dim == 0 && kv_width % head_dim == 0, "whole heads in q and k");
  check.expect(shape.num_kv_heads > 0 && shape.num_heads % shape.num_kv_heads == 0,
               "a number of query heads that is a multiple of the key/value heads");
  return shape;
}

}  // namespace

Error attention_out(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& segments, int64_t head_dim,
                    double scale, int64_t window, double softcap, Tensor& out, Tensor& lse) {
  Checker check("attention");
  const AttentionShape shape = check_qkv(check, q, k, v, head_dim, scale, window, softcap);
  check.segments(segments, shape.n_rows);
  check.output("out0", out, {shape.n_rows, size_at(q, 1)});
  check.output("out1", lse, {shape.n_rows, shape.num_heads});
  if (check.ok()) {
    attention(floats(q), floats(k), floats(v), longs(segments), segments.numel() - 1, shape, floats(out), floats(lse));
  }
  return check.error();
}

Error attention_backward_out(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                             const Tensor& lse, const Tensor& segments, int64_t head_dim, double scale, int64_t window,
                             double softcap, Tensor& dq, Tensor& dk, Tensor& dv) {
  Checker check("attention_backward");
  const AttentionShape shape = check_qkv(check, q, k, v, head_dim, scale, window, softcap);
  const int64_t rows = shape.n_rows, width = size_at(q, 1), kv_width = size_at(k, 1);
  check.f32("dout", dout, {rows, width});
  check.f32("out", out, {rows, width});
  if (check.ok()) check.f32("lse", lse, {rows, shape.num_heads});
  check.segments(segments, rows);
  check.output("out0", dq, {rows, width});
  check.output("out1", dk, {rows, kv_width});
  check.output("out2", dv, {rows, kv_width});
  if (check.ok()) {
    attention_backward(floats(dout), floats(q), floats(k), floats(v), floats(out), floats(lse), longs(segments),
                       segments.numel() - 1, shape, floats(dq), floats(dk), floats(dv));
  }
  return check.error();
}

Error attention_cached_out(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& k_cache,
                           const Tensor& v_cache, const Tensor& past, int64_t head_dim, double scale, int64_t window,
                           double softcap, Tensor& out) {
  Checker check("attention_cached");
  const AttentionShape shape = check_qkv(check, q, k, v, head_dim, scale, window, softcap);
  const int64_t capacity = size_at(k_cache, 0), row_bytes = size_at(k_cache, 1);
  check.u8("k_cache", k_cache, {kAny, kAny});
  check.u8("v_cache", v_cache, {capacity, row_bytes});
  KvCacheRows cache{};
  if (check.ok()) {
    const int64_t heads = shape.num_kv_heads;
    check.expect(row_bytes % heads == 0 && cache_format_of(row_bytes / heads, head_dim, &cache.format),
                 "cache rows of a known format");
  }
  check.i64("past", past, {1});
  check.range("past", past, 0, capacity + 1, 0);
  check.output("out", out, {shape.n_rows, size_at(q, 1)});
  if (check.ok()) {
    cache.k = bytes(k_cache);
    cache.v = bytes(v_cache);
    cache.past = longs(past)[0];
    attention_cached(floats(q), floats(k), floats(v), cache, shape, floats(out));
  }
  return check.error();
}

}  // namespace pocketlora::boxed
