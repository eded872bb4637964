#include "kernels/executorch/checks.h"
#include "kernels/executorch/ops.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"

namespace pocketlora::boxed {
namespace {

/// What the columns of x must be: whole groups of `width`. @return `width` where they are not, so that the check says
/// so.
int64_t whole_groups(int64_t columns, int64_t width) {
  return width > 0 && columns > 0 && columns % width == 0 ? columns : width;
}

}  // namespace

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
  const int64_t rows = size_at(x, 0), columns = size_at(x, 1), width = size_at(weight, 0);
  check.f32("weight", weight, {kAny});
  check.f32("x", x, {kAny, whole_groups(columns, width)});
  check.output("out", out, {rows, columns});
  if (check.ok()) {
    rms_norm(floats(x), floats(weight), static_cast<float>(eps), rows * (columns / width), width, floats(out));
  }
  return check.error();
}

Error rms_norm_backward_out(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps, Tensor& out) {
  Checker check("rms_norm_backward");
  const int64_t rows = size_at(x, 0), columns = size_at(x, 1), width = size_at(weight, 0);
  check.f32("weight", weight, {kAny});
  check.f32("x", x, {kAny, whole_groups(columns, width)});
  check.f32("dy", dy, {rows, columns});
  check.output("out", out, {rows, columns});
  if (check.ok()) {
    rms_norm_backward(floats(dy), floats(x), floats(weight), static_cast<float>(eps), rows * (columns / width), width,
                      floats(out));
  }
  return check.error();
}

Error layer_norm_out(const Tensor& x, const Tensor* weight, const Tensor* bias, double eps, Tensor& out) {
  Checker check("layer_norm");
  const int64_t rows = size_at(x, 0), columns = size_at(x, 1),
                width = weight != nullptr ? size_at(*weight, 0) : columns;
  if (weight != nullptr) check.f32("weight", *weight, {kAny});
  if (bias != nullptr) check.f32("bias", *bias, {width});
  check.f32("x", x, {kAny, whole_groups(columns, width)});
  check.output("out", out, {rows, columns});
  if (check.ok()) {
    layer_norm(floats(x), floats_or_null(weight), floats_or_null(bias), static_cast<float>(eps),
               rows * (columns / width), width, floats(out));
  }
  return check.error();
}

Error layer_norm_backward_out(const Tensor& dy, const Tensor& x, const Tensor* weight, double eps, Tensor& out) {
  Checker check("layer_norm_backward");
  const int64_t rows = size_at(x, 0), columns = size_at(x, 1),
                width = weight != nullptr ? size_at(*weight, 0) : columns;
  if (weight != nullptr) check.f32("weight", *weight, {kAny});
  check.f32("x", x, {kAny, whole_groups(columns, width)});
  check.f32("dy", dy, {rows, columns});
  check.output("out", out, {rows, columns});
  if (check.ok()) {
    layer_norm_backward(floats(dy), floats(x), floats_or_null(weight), static_cast<float>(eps),
                        rows * (columns / width), width, floats(out));
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
