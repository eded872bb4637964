#include "kernels/executorch/checks.h"
#include "kernels/executorch/ops.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"

namespace pocketlora::boxed {

Error rope_table_out(const Tensor& positions, const Tensor& inv_freq, double scaling, Tensor& out) {
  Checker check("rope_table");
  const int64_t rows = size_at(positions, 0), half = size_at(inv_freq, 0);
  check.i64("positions", positions, {kAny});
  check.f32("inv_freq", inv_freq, {kAny});
  check.output("out", out, {rows, 2 * half});
  if (check.ok()) rope_table(longs(positions), floats(inv_freq), static_cast<float>(scaling), rows, half, floats(out));
  return check.error();
}

Error rms_norm_out(const Tensor& x, const Tensor& weight, double eps, Tensor& out) {
  Checker check("rms_norm");
  const int64_t rows = size_at(x, 0), width = size_at(weight, 0);
  check.f32("x", x, {kAny, width});
  check.f32("weight", weight, {kAny});
  check.output("out", out, {rows, width});
  if (check.ok()) rms_norm(floats(x), floats(weight), static_cast<float>(eps), rows, width, floats(out));
  return check.error();
}

Error rms_norm_backward_out(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps, Tensor& out) {
  Checker check("rms_norm_backward");
  const int64_t rows = size_at(x, 0), width = size_at(weight, 0);
  check.f32("dy", dy, {rows, width});
  check.f32("x", x, {rows, width});
  check.f32("weight", weight, {kAny});
  check.output("out", out, {rows, width});
  if (check.ok()) {
    rms_norm_backward(floats(dy), floats(x), floats(weight), static_cast<float>(eps), rows, width, floats(out));
  }
  return check.error();
}

Error rope_out(const Tensor& x, const Tensor& table, int64_t head_dim, bool inverse, Tensor& out) {
  Checker check("rope");
  const int64_t rows = size_at(x, 0), width = size_at(x, 1), rotary = size_at(table, 1);
  check.f32("x", x, {kAny, kAny});
  check.f32("table", table, {rows, kAny});
  check.expect(head_dim > 0 && width % head_dim == 0, "the width of x to be a multiple of head_dim");
  check.expect(rotary % 2 == 0 && rotary <= head_dim, "an even rotary width of at most head_dim");
  check.output("out", out, {rows, width});
  if (check.ok()) {
    rope(floats(x), floats(table), RopeShape{rows, width / head_dim, head_dim, rotary}, inverse, floats(out));
  }
  return check.error();
}

}  // namespace pocketlora::boxed
