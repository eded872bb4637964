#pragma once

#include <executorch/runtime/core/error.h>
#include <executorch/runtime/core/exec_aten/exec_aten.h>

#include <cstdint>

/**
 * The ops of docs/stages.md over ExecuTorch's tensors: the schema's arguments in their order, outputs last. Each
 * function checks what it is given (every finding is logged), resizes its outputs and calls the kernel.
 */
namespace pocketlora::boxed {

using executorch::aten::Tensor;
using executorch::runtime::Error;

Error embedding_out(const Tensor& tokens, const Tensor& w, int64_t n, int64_t k, int64_t quant, int64_t group,
                    Tensor& out);
Error rope_table_out(const Tensor& positions, const Tensor& inv_freq, double scaling, Tensor& out);
Error rms_norm_out(const Tensor& x, const Tensor& weight, double eps, Tensor& out);
Error rms_norm_backward_out(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps, Tensor& out);
Error layer_norm_out(const Tensor& x, const Tensor* weight, const Tensor* bias, double eps, Tensor& out);
Error layer_norm_backward_out(const Tensor& dy, const Tensor& x, const Tensor* weight, double eps, Tensor& out);
Error rope_out(const Tensor& x, const Tensor& table, int64_t head_dim, bool inverse, Tensor& out);
Error swiglu_out(const Tensor& gate, const Tensor& up, Tensor& out);
Error swiglu_backward_out(const Tensor& dy, const Tensor& gate, const Tensor& up, Tensor& dgate, Tensor& dup);
Error geglu_tanh_out(const Tensor& gate, const Tensor& up, Tensor& out);
Error geglu_tanh_backward_out(const Tensor& dy, const Tensor& gate, const Tensor& up, Tensor& dgate, Tensor& dup);
Error gelu_tanh_out(const Tensor& x, Tensor& out);
Error gelu_tanh_backward_out(const Tensor& dy, const Tensor& x, Tensor& out);
Error soft_cap_out(const Tensor& x, double cap, Tensor& out);

Error attention_out(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& segments, int64_t head_dim,
                    double scale, int64_t window, double softcap, Tensor& out, Tensor& lse);
Error attention_backward_out(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                             const Tensor& lse, const Tensor& segments, int64_t head_dim, double scale, int64_t window,
                             double softcap, Tensor& dq, Tensor& dk, Tensor& dv);
Error attention_cached_out(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& k_cache,
                           const Tensor& v_cache, const Tensor& past, int64_t head_dim, double scale, int64_t window,
                           double softcap, Tensor& out);

Error linear4_out(const Tensor& x, const Tensor& w, const Tensor* bias, int64_t n, int64_t k, int64_t quant,
                  int64_t group, Tensor& out);
Error linear4_backward_out(const Tensor& dy, const Tensor& w, int64_t n, int64_t k, int64_t quant, int64_t group,
                           Tensor& out);
Error lora_linear_out(const Tensor& x, const Tensor& w, const Tensor* bias, const Tensor& a, const Tensor& b,
                      const Tensor& scale, const Tensor* dropout, const Tensor* seed, int64_t site, int64_t n,
                      int64_t k, int64_t quant, int64_t group, Tensor& out);
Error lora_linear_backward_out(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& a, const Tensor& b,
                               const Tensor& scale, const Tensor* dropout, const Tensor* seed, int64_t site, int64_t n,
                               int64_t k, int64_t quant, int64_t group, Tensor& dx, Tensor& da, Tensor& db);
Error head_loss_out(const Tensor& h, const Tensor& w, const Tensor* bias, const Tensor& labels, const Tensor& weights,
                    int64_t n, int64_t k, int64_t quant, int64_t group, double softcap, Tensor& logprobs, Tensor& loss,
                    Tensor& dh);

}  // namespace pocketlora::boxed
