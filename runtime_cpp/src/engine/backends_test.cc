#include "engine/backends.h"

#include <gtest/gtest.h>

namespace pocketlora {
namespace {

using Names = std::vector<std::string>;

ProgramSpec program(const char* backend, const char* kind, Names delegates) {
  ProgramSpec spec;
  spec.backend = backend;
  spec.kind = kind;
  spec.delegates = std::move(delegates);
  return spec;
}

/// Training and inference for two accelerators and the CPU, best first.
Manifest several() {
  Manifest manifest;
  manifest.programs = {program("gpu", "train", {"GpuBackend"}),
                       program("gpu", "infer", {"GpuBackend"}),
                       program("mixed", "train", {}),
                       program("mixed", "infer", {"FastBackend", "GpuBackend"}),
                       program("cpu", "train", {}),
                       program("cpu", "infer", {})};
  return manifest;
}

std::string chosen(const std::string& wanted, const Names& available) {
  const auto found = choose_backend(several(), "b", wanted, available);
  return found.ok() ? found.value() : found.status().message();
}

TEST(Backends, AreListedOnceInOrder) { EXPECT_EQ(backends_of(several()), (Names{"gpu", "mixed", "cpu"})); }

TEST(Backends, ProgramsWithConstantsAreForOtherRuntimes) {
  Manifest manifest = several();
  manifest.programs[0].constants = "programs/gpu/constants.ptd";
  EXPECT_EQ(choose_backend(manifest, "b", "auto", {"GpuBackend", "FastBackend"}).value(), "mixed");
  const auto refused = choose_backend(manifest, "b", "gpu", {"GpuBackend"});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("'gpu' needs constants of delegates"), std::string::npos)
      << refused.status().message();
}

TEST(Backends, AutoTakesTheFirstThatCanRun) {
  EXPECT_EQ(chosen("auto", {"FastBackend", "GpuBackend"}), "gpu");
  EXPECT_EQ(chosen("auto", {"FastBackend"}), "cpu");
  EXPECT_EQ(chosen("auto", {}), "cpu");
}

TEST(Backends, NamedOneIsTakenOrRefused) {
  EXPECT_EQ(chosen("mixed", {"FastBackend", "GpuBackend"}), "mixed");
  EXPECT_EQ(chosen("cpu", {}), "cpu");
  EXPECT_EQ(chosen("mixed", {"OtherBackend"}),
            "bundle 'b': backend 'mixed' needs FastBackend, GpuBackend, which this build of the runtime does not have: "
            "it has OtherBackend");
  EXPECT_EQ(chosen("npu", {}), "bundle 'b' has no programs for backend 'npu': it has gpu, mixed, cpu");
  EXPECT_EQ(choose_backend(several(), "b", "gpu", {}).status().code(), PL_BACKEND_MISSING);
}

TEST(Backends, AutoTellsWhatEachOneMisses) {
  Manifest manifest = several();
  manifest.programs.resize(4);
  const auto found = choose_backend(manifest, "b", "auto", {"FastBackend"});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.status().message(),
            "bundle 'b': backend 'gpu' needs GpuBackend; 'mixed' needs GpuBackend, which this build of the runtime "
            "does not have: it has FastBackend");
}

TEST(Backends, PassedOverAreToldOneByOne) {
  EXPECT_EQ(passed_over(several(), "gpu", {}), "");
  EXPECT_EQ(passed_over(several(), "cpu", {"FastBackend", "GpuBackend"}), "");
  EXPECT_EQ(passed_over(several(), "cpu", {"FastBackend"}),
            "backend 'gpu' needs GpuBackend, which this build of the runtime does not have\n"
            "backend 'mixed' needs GpuBackend, which this build of the runtime does not have\n");
}

TEST(Backends, AnotherVersionIsTold) {
  const std::string own = executorch_version();
  EXPECT_EQ(version_note(own), "");
  EXPECT_EQ(version_note(own + "+cpu"), "");
  EXPECT_EQ(version_note("0.1.0"), ". It was lowered with ExecuTorch 0.1.0, this runtime has " + own +
                                       ": export the bundle again with that version");
}

}  // namespace
}  // namespace pocketlora
