#include "kernels/embedding/embedding.h"
#include "kernels/executorch/checks.h"
#include "kernels/executorch/ops.h"
#include "kernels/head_loss/head_loss.h"
#include "kernels/linear4/linear4.h"
#include "kernels/lora_linear/lora_linear.h"

namespace pocketlora::boxed {
namespace {

void check_bias(Checker& check, const Tensor* bias, int64_t n) {
  if (bias != nullptr) check.f32("bias", *bias, {n});
}

LoraSite check_site(Checker& check, const Tensor& a, const Tensor& b, const Tensor& scale, int64_t n, int64_t k) {
  const int64_t rank = size_at(a, 0);
  check.f32("a", a, {kAny, k});
  check.f32("b", b, {n, rank});
  check.f32("scale", scale, {rank});
  return check.ok() ? LoraSite{floats(a), floats(b), floats(scale), rank} : LoraSite{};
}

/** The dropout of a call; p = 0 when it is absent. */
Dropout check_dropout(Checker& check, const Tensor* p, const Tensor* seed, int64_t site) {
  Dropout dropout{0.0f, 0, static_cast<int32_t>(site)};
  if (p == nullptr) return dropout;
  check.f32("dropout", *p, {1});
  if (!check.ok()) return dropout;
  dropout.p = floats(*p)[0];
  check.expect(dropout.p >= 0.0f && dropout.p < 1.0f, "a dropout in [0, 1)");
  check.expect(dropout.p == 0.0f || seed != nullptr, "a seed where there is a dropout");
  if (seed == nullptr) return dropout;
  check.i64("seed", *seed, {1});
  if (check.ok()) dropout.seed = static_cast<uint64_t>(longs(*seed)[0]);
  return dropout;
}

}  // namespace

Error embedding_out(const Tensor& tokens, const Tensor& w, int64_t n, int64_t k, int64_t quant, int64_t group,
                    Tensor& out) {
  Checker check("embedding");
  const int64_t rows = size_at(tokens, 0);
  const Q4Matrix matrix = check.q4(w, n, k, quant, group);
  check.i64("tokens", tokens, {kAny});
  check.range("tokens", tokens, 0, n, 0);
  check.output("out", out, {rows, k});
  if (check.ok()) embedding(longs(tokens), rows, matrix, floats(out));
  return check.error();
}

Error linear4_out(const Tensor& x, const Tensor& w, const Tensor* bias, int64_t n, int64_t k, int64_t quant,
                  int64_t group, Tensor& out) {
  Checker check("linear4");
  const int64_t rows = size_at(x, 0);
  const Q4Matrix matrix = check.q4(w, n, k, quant, group);
  check.f32("x", x, {kAny, k});
  check_bias(check, bias, n);
  check.output("out", out, {rows, n});
  if (check.ok()) linear4(floats(x), rows, matrix, floats_or_null(bias), floats(out));
  return check.error();
}

Error linear4_backward_out(const Tensor& dy, const Tensor& w, int64_t n, int64_t k, int64_t quant, int64_t group,
                           Tensor& out) {
  Checker check("linear4_backward");
  const int64_t rows = size_at(dy, 0);
  const Q4Matrix matrix = check.q4(w, n, k, quant, group);
  check.f32("dy", dy, {kAny, n});
  check.output("out", out, {rows, k});
  if (check.ok()) linear4_backward(floats(dy), rows, matrix, floats(out));
  return check.error();
}

Error lora_linear_out(const Tensor& x, const Tensor& w, const Tensor* bias, const Tensor& a, const Tensor& b,
                      const Tensor& scale, const Tensor* dropout, const Tensor* seed, int64_t site, int64_t n,
                      int64_t k, int64_t quant, int64_t group, Tensor& out) {
  Checker check("lora_linear");
  const int64_t rows = size_at(x, 0);
  const Q4Matrix matrix = check.q4(w, n, k, quant, group);
  check.f32("x", x, {kAny, k});
  check_bias(check, bias, n);
  const LoraSite lora = check_site(check, a, b, scale, n, k);
  const Dropout drop = check_dropout(check, dropout, seed, site);
  check.output("out", out, {rows, n});
  if (check.ok()) lora_linear(floats(x), rows, matrix, floats_or_null(bias), lora, &drop, floats(out));
  return check.error();
}

Error lora_linear_backward_out(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& a, const Tensor& b,
                               const Tensor& scale, const Tensor* dropout, const Tensor* seed, int64_t site, int64_t n,
                               int64_t k, int64_t quant, int64_t group, Tensor& dx, Tensor& da, Tensor& db) {
  Checker check("lora_linear_backward");
  const int64_t rows = size_at(x, 0);
  const Q4Matrix matrix = check.q4(w, n, k, quant, group);
  check.f32("dy", dy, {rows, n});
  check.f32("x", x, {kAny, k});
  const LoraSite lora = check_site(check, a, b, scale, n, k);
  const Dropout drop = check_dropout(check, dropout, seed, site);
  check.output("out0", dx, {rows, k});
  check.output("out1", da, {lora.rank, k});
  check.output("out2", db, {n, lora.rank});
  if (check.ok()) {
    lora_linear_backward(floats(dy), floats(x), rows, matrix, lora, &drop, floats(dx), floats(da), floats(db));
  }
  return check.error();
}

Error head_loss_out(const Tensor& h, const Tensor& w, const Tensor* bias, const Tensor& labels, const Tensor& weights,
                    int64_t n, int64_t k, int64_t quant, int64_t group, double softcap, Tensor& logprobs, Tensor& loss,
                    Tensor& dh) {
  Checker check("head_loss");
  const int64_t rows = size_at(h, 0);
  const Q4Matrix matrix = check.q4(w, n, k, quant, group);
  check.f32("h", h, {kAny, k});
  check_bias(check, bias, n);
  check.i64("labels", labels, {rows});
  check.range("labels", labels, 0, n, kIgnoredLabel);
  check.f32("weights", weights, {rows});
  check.expect(softcap >= 0, "a softcap of 0 (none) or more");
  check.output("out0", logprobs, {rows});
  check.output("out1", loss, {1});
  check.output("out2", dh, {rows, k});
  if (check.ok()) {
    head_loss(floats(h), rows, matrix, floats_or_null(bias), static_cast<float>(softcap), longs(labels),
              floats(weights), floats(logprobs), floats(loss), floats(dh));
  }
  return check.error();
}

}  // namespace pocketlora::boxed
