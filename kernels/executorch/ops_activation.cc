#include "kernels/activation/activation.h"
#include "kernels/executorch/checks.h"
#include "kernels/executorch/ops.h"

namespace pocketlora::boxed {
namespace {

Error gated_out(const char* op, Activation activation, const Tensor& gate, const Tensor& up, Tensor& out) {
  Checker check(op);
  const int64_t rows = size_at(gate, 0), width = size_at(gate, 1);
  check.f32("gate", gate, {kAny, kAny});
  check.f32("up", up, {rows, width});
  check.output("out", out, {rows, width});
  if (check.ok()) gated(activation, floats(gate), floats(up), rows * width, floats(out));
  return check.error();
}

Error gated_backward_out(const char* op, Activation activation, const Tensor& dy, const Tensor& gate, const Tensor& up,
                         Tensor& dgate, Tensor& dup) {
  Checker check(op);
  const int64_t rows = size_at(gate, 0), width = size_at(gate, 1);
  check.f32("dy", dy, {rows, width});
  check.f32("gate", gate, {kAny, kAny});
  check.f32("up", up, {rows, width});
  check.output("out0", dgate, {rows, width});
  check.output("out1", dup, {rows, width});
  if (check.ok()) {
    gated_backward(activation, floats(dy), floats(gate), floats(up), rows * width, floats(dgate), floats(dup));
  }
  return check.error();
}

}  // namespace

Error swiglu_out(const Tensor& gate, const Tensor& up, Tensor& out) {
  return gated_out("swiglu", Activation::kSilu, gate, up, out);
}

Error swiglu_backward_out(const Tensor& dy, const Tensor& gate, const Tensor& up, Tensor& dgate, Tensor& dup) {
  return gated_backward_out("swiglu_backward", Activation::kSilu, dy, gate, up, dgate, dup);
}

Error geglu_tanh_out(const Tensor& gate, const Tensor& up, Tensor& out) {
  return gated_out("geglu_tanh", Activation::kGeluTanh, gate, up, out);
}

Error geglu_tanh_backward_out(const Tensor& dy, const Tensor& gate, const Tensor& up, Tensor& dgate, Tensor& dup) {
  return gated_backward_out("geglu_tanh_backward", Activation::kGeluTanh, dy, gate, up, dgate, dup);
}

Error gelu_tanh_out(const Tensor& x, Tensor& out) {
  Checker check("gelu_tanh");
  const int64_t rows = size_at(x, 0), width = size_at(x, 1);
  check.f32("x", x, {kAny, kAny});
  check.output("out", out, {rows, width});
  if (check.ok()) activate(Activation::kGeluTanh, floats(x), rows * width, floats(out));
  return check.error();
}

Error gelu_tanh_backward_out(const Tensor& dy, const Tensor& x, Tensor& out) {
  Checker check("gelu_tanh_backward");
  const int64_t rows = size_at(x, 0), width = size_at(x, 1);
  check.f32("dy", dy, {rows, width});
  check.f32("x", x, {kAny, kAny});
  check.output("out", out, {rows, width});
  if (check.ok()) activate_backward(Activation::kGeluTanh, floats(dy), floats(x), rows * width, floats(out));
  return check.error();
}

Error soft_cap_out(const Tensor& x, double cap, Tensor& out) {
  Checker check("soft_cap");
  const int64_t rows = size_at(x, 0), width = size_at(x, 1);
  check.f32("x", x, {kAny, kAny});
  check.expect(cap > 0, "a positive cap");
  check.output("out", out, {rows, width});
  if (check.ok()) soft_cap(floats(x), rows * width, static_cast<float>(cap), floats(out));
  return check.error();
}

}  // namespace pocketlora::boxed
