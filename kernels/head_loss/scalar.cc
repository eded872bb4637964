#include <algorithm>
#include <cmath>

#include "kernels/common/scratch.h"
#include "kernels/head_loss/head_loss.h"

namespace pocketlora {
namespace {

/// One row: the running maximum and sum over the vocabulary, dh rescaled when the maximum moves.
double row_logprob(const float* h, const Q4Matrix& w, const float* bias, float softcap, int64_t label, float* row,
                   float* dh) {
  double maximum = -INFINITY, sum = 0.0, label_logit = 0.0;
  const auto slope = [softcap](double logit) { return softcap > 0 ? 1 - logit / softcap * (logit / softcap) : 1.0; };
  std::fill(dh, dh + w.cols, 0.0f);
  for (int64_t v = 0; v < w.rows; ++v) {
    q4_dequantize_row(w, v, row);
    double logit = bias == nullptr ? 0.0 : bias[v];
    for (int64_t k = 0; k < w.cols; ++k) logit += static_cast<double>(h[k]) * row[k];
    if (softcap > 0) logit = softcap * std::tanh(logit / softcap);
    if (v == label) label_logit = logit;
    if (logit > maximum) {
      const double shrink = std::exp(maximum - logit);
      sum *= shrink;
      for (int64_t k = 0; k < w.cols; ++k) dh[k] *= static_cast<float>(shrink);
      maximum = logit;
    }
    const double p = std::exp(logit - maximum);
    sum += p;
    for (int64_t k = 0; k < w.cols; ++k) dh[k] += static_cast<float>(p * slope(logit)) * row[k];
  }
  q4_dequantize_row(w, label, row);
  for (int64_t k = 0; k < w.cols; ++k) dh[k] = static_cast<float>(dh[k] / sum - slope(label_logit) * row[k]);
  return label_logit - maximum - std::log(sum);
}

}  // namespace

void head_loss_scalar(const float* h, int64_t n_rows, const Q4Matrix& w, const float* bias, float softcap,
                      const int64_t* labels, const float* weights, float* logprobs, float* loss, float* dh) {
  ScratchFrame frame;
  float* row = frame.floats(w.cols);
  double total = 0.0;
  for (int64_t i = 0; i < n_rows; ++i) {
    float* grad = dh + i * w.cols;
    logprobs[i] = 0.0f;
    if (labels[i] == kIgnoredLabel) {
      std::fill(grad, grad + w.cols, 0.0f);
      continue;
    }
    const double logprob = row_logprob(h + i * w.cols, w, bias, softcap, labels[i], row, grad);
    logprobs[i] = static_cast<float>(logprob);
    total -= weights[i] * logprob;
    for (int64_t k = 0; k < w.cols; ++k) grad[k] *= weights[i];
  }
  *loss = static_cast<float>(total);
}

}  // namespace pocketlora
