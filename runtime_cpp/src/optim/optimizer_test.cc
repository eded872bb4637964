#include "optim/optimizer.h"

#include <cmath>

#include "common/test_support.h"

namespace pocketlora {
namespace {

// torch.optim.AdamW, one element, in double.
struct AdamReference {
  double p, m = 0, v = 0;
  void step(double g, int t, const OptimizerOptions& o) {
    const double b1 = as_written(o.beta1), b2 = as_written(o.beta2), lr = as_written(o.learning_rate);
    p *= 1 - lr * as_written(o.weight_decay);
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    p -= lr / (1 - std::pow(b1, t)) * m / (std::sqrt(v) / std::sqrt(1 - std::pow(b2, t)) + as_written(o.epsilon));
  }
};

double gradient(size_t i, int t) { return std::sin(static_cast<double>(i * 7 + static_cast<size_t>(t) * 3)); }

struct Problem {
  std::vector<float> a = {0.5F, -1.0F, 2.0F};
  std::vector<float> b = {0.25F, 3.0F};
  std::vector<float> grad_a = std::vector<float>(3);
  std::vector<float> grad_b = std::vector<float>(2);

  std::vector<ParameterGroup> groups() { return {{a, grad_a}, {b, grad_b}}; }
  void fill(int t) {
    for (size_t i = 0; i < 3; ++i) grad_a[i] = static_cast<float>(gradient(i, t));
    for (size_t i = 0; i < 2; ++i) grad_b[i] = static_cast<float>(gradient(3 + i, t));
  }
};

constexpr int kSteps = 50;
// A step rounds a handful of fp32 operations on values below 4; the errors of kSteps steps add up at most.
constexpr double kTolerance = kSteps * 8 * 1.2e-7 * 4;

TEST(Optimizer, AdamWFollowsTorch) {
  OptimizerOptions options;
  options.learning_rate = 0.01F;
  options.weight_decay = 0.1F;
  Problem problem;
  std::vector<AdamReference> reference;
  for (const float p : problem.a) reference.push_back({static_cast<double>(p)});
  for (const float p : problem.b) reference.push_back({static_cast<double>(p)});
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(PL_ADAMW, options, {{1, 3}, {2, 1}}).value();
  for (int t = 1; t <= kSteps; ++t) {
    problem.fill(t);
    ASSERT_TRUE(optimizer->step(problem.groups()).ok());
    for (size_t i = 0; i < 5; ++i) reference[i].step(gradient(i, t), t, options);
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(problem.a[i], reference[i].p, kTolerance);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(problem.b[i], reference[3 + i].p, kTolerance);
  EXPECT_EQ(optimizer->steps(), kSteps);
  EXPECT_EQ(optimizer->nbytes(), 2 * 5 * 4);
}

TEST(Optimizer, SgdFollowsTorch) {
  OptimizerOptions options;
  options.learning_rate = 0.1F;
  options.momentum = 0.9F;
  options.weight_decay = 0.01F;
  Problem problem;
  std::vector<double> p(problem.a.begin(), problem.a.end());
  std::vector<double> momentum(3);
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(PL_SGD, options, {{1, 3}, {2, 1}}).value();
  for (int t = 1; t <= kSteps; ++t) {
    problem.fill(t);
    ASSERT_TRUE(optimizer->step(problem.groups()).ok());
    for (size_t i = 0; i < 3; ++i) {
      momentum[i] = 0.9 * momentum[i] + gradient(i, t) + 0.01 * p[i];
      p[i] -= 0.1 * momentum[i];
    }
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(problem.a[i], p[i], kTolerance);
  ASSERT_EQ(optimizer->state().size(), 1U);
  EXPECT_EQ(optimizer->state()[0].name, "momentum_buffer");
}

TEST(Optimizer, SgdWithoutMomentumKeepsNoState) {
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(PL_SGD, {}, {{1, 3}, {2, 1}}).value();
  EXPECT_EQ(optimizer->nbytes(), 0);
  EXPECT_TRUE(optimizer->state().empty());
  Problem problem;
  problem.fill(1);
  const float expected = problem.a[1] - 1e-4F * problem.grad_a[1];
  ASSERT_TRUE(optimizer->step(problem.groups()).ok());
  EXPECT_FLOAT_EQ(problem.a[1], expected);
}

// Large enough for moments in 8 bits, beside a matrix that is not.
struct LargeProblem {
  std::vector<MatrixShape> shapes = {{16, 256}, {5, 3}};
  std::vector<std::vector<float>> parameters, gradients;

  LargeProblem() {
    for (const MatrixShape& shape : shapes) {
      parameters.emplace_back(static_cast<size_t>(shape.size()), 0.5F);
      gradients.emplace_back(static_cast<size_t>(shape.size()));
    }
  }
  std::vector<ParameterGroup> groups(int t) {
    std::vector<ParameterGroup> groups;
    for (size_t m = 0; m < shapes.size(); ++m) {
      for (size_t i = 0; i < gradients[m].size(); ++i) gradients[m][i] = static_cast<float>(gradient(i, t));
      groups.push_back({parameters[m], gradients[m]});
    }
    return groups;
  }
};

TEST(Optimizer, ResumesFromItsState) {
  for (const pl_optimizer kind : {PL_ADAMW, PL_SGD, PL_ADAMW_8BIT, PL_ADAFACTOR, PL_LION}) {
    OptimizerOptions options;
    options.momentum = 0.5F;
    LargeProblem whole;
    LargeProblem halves;
    const std::unique_ptr<Optimizer> one = make_optimizer(kind, options, whole.shapes).value();
    std::unique_ptr<Optimizer> two = make_optimizer(kind, options, whole.shapes).value();
    for (int t = 1; t <= 10; ++t) {
      if (t == 6) {
        std::unique_ptr<Optimizer> resumed = make_optimizer(kind, options, whole.shapes).value();
        for (size_t v = 0; v < two->state().size(); ++v) {
          std::copy_n(two->state()[v].data, two->state()[v].nbytes(), resumed->state()[v].data);
        }
        resumed->set_steps(two->steps());
        two = std::move(resumed);
      }
      ASSERT_TRUE(one->step(whole.groups(t)).ok());
      ASSERT_TRUE(two->step(halves.groups(t)).ok());
    }
    EXPECT_EQ(whole.parameters, halves.parameters) << kind;
    EXPECT_NE(whole.parameters, LargeProblem().parameters) << kind;
  }
}

TEST(Optimizer, StatesTakeWhatTheirFormatsTake) {
  const LargeProblem problem;
  constexpr int64_t kLarge = 16 * 256;
  constexpr int64_t kSmall = 5 * 3;
  const auto nbytes = [&](pl_optimizer kind) { return make_optimizer(kind, {}, problem.shapes).value()->nbytes(); };
  EXPECT_EQ(nbytes(PL_ADAMW), 2 * 4 * (kLarge + kSmall));
  EXPECT_EQ(nbytes(PL_ADAMW_8BIT), 2 * (kLarge + kLarge / 256 * 4 + 4 * kSmall));
  EXPECT_EQ(nbytes(PL_ADAFACTOR), 4 * (16 + 256 + 5 + 3));
  EXPECT_EQ(nbytes(PL_LION), 4 * (kLarge + kSmall));
}

TEST(Optimizer, RefusesSettingsOutOfRange) {
  OptimizerOptions options;
  options.learning_rate = NAN;
  options.beta1 = 1.0F;
  options.epsilon = -1.0F;
  EXPECT_TRUE(fails_with(make_optimizer(PL_ADAMW, options, {{1, 1}}).status(), PL_INVALID_ARGUMENT,
                         {"learning_rate", "beta1", "epsilon"}));
  options = {};
  options.momentum = -1.0F;
  EXPECT_TRUE(fails_with(make_optimizer(PL_SGD, options, {{1, 1}}).status(), PL_INVALID_ARGUMENT, {"momentum"}));
}

TEST(Optimizer, RefusesOtherParameters) {
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(PL_ADAMW, {}, {{1, 3}}).value();
  Problem problem;
  EXPECT_TRUE(fails_with(optimizer->step(problem.groups()), PL_INVALID_ARGUMENT));
  EXPECT_TRUE(fails_with(optimizer->step({{problem.b, problem.grad_b}}), PL_INVALID_ARGUMENT));
  EXPECT_EQ(optimizer->steps(), 0);
}

TEST(Optimizer, TakesSettingsAsWritten) {
  EXPECT_EQ(as_written(0.999F), 0.999);
  EXPECT_EQ(as_written(1e-8F), 1e-8);
  EXPECT_EQ(as_written(5e-4F), 5e-4);
  EXPECT_EQ(as_written(0.0F), 0.0);
  const float third = 1.0F / 3;
  EXPECT_EQ(static_cast<float>(as_written(third)), third);
}

}  // namespace
}  // namespace pocketlora
