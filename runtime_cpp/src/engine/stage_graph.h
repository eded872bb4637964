#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/adapter_tensors.h"
#include "bundle/bundle.h"
#include "common/result.h"
#include "common/span.h"
#include "engine/loaded_program.h"
#include "engine/weight_stream.h"

namespace pocketlora {

/// A caller's tensor for a runtime input, by its name in the manifest.
struct InputTensor {
  std::string_view name;
  const void* data;
};

/// A caller's buffer for an output.
struct OutputTensor {
  std::string_view name;
  void* data;
  size_t bytes;
};

/// What the adapter inputs of blocks are bound to, and where their gradients go; indexed like the manifest's sites.
/// `gradients` is only needed by a method that has gradient outputs.
struct SiteBindings {
  Span<const AdapterSiteView> views;
  Span<const AdapterSite> gradients;
};

/// A program and how the manifest says to walk it: which method each layer calls and what is bound to it. The base's
/// tensors are bound where they lie in the mapping. Thread-safe: one stage of the program runs at a time.
class StageGraph {
 public:
  /// @param bundle outlives the graph. @param kind "train" or "infer". @return BACKEND_MISSING when the bundle has no
  /// such program.
  static Result<std::unique_ptr<StageGraph>> open(const Bundle& bundle, const std::string& backend,
                                                  const std::string& kind, MemoryAccount* account);

  int64_t num_layers() const { return static_cast<int64_t>(blocks_.size()); }
  /// Keys that a token sees at most in each layer, itself included; 0 = all before it.
  const std::vector<int64_t>& windows() const { return windows_; }

  /// What a layer's "forward_keep" puts out for its "backward_kept"; in the manifest's order, empty without the two.
  const std::vector<TensorSpec>& kept_products(int64_t layer) const { return kept_[static_cast<size_t>(layer)]; }
  /// Columns of each layer's kept products together; empty when some layer has none.
  std::vector<int64_t> kept_columns() const;

  /// From now on the weights are read one stage ahead and let go of after use. Not while a stage runs.
  void stream_weights();
  bool streams_weights() const { return stream_ != nullptr; }
  /// Loads every method now rather than at its first use, so that what they allocate is known.
  Status load_all();
  /// Bytes of the arena, and those of them that are touched.
  int64_t arena_bytes() const { return program_->arena_bytes(); }
  int64_t arena_resident() const { return program_->arena_resident(); }
  const ProgramSpec& program() const { return *program_spec_; }

  Status run_embed(const Extents& extents, const std::vector<InputTensor>& inputs,
                   const std::vector<OutputTensor>& outputs);
  bool has_role(int64_t layer, const std::string& role) const {
    return blocks_[static_cast<size_t>(layer)].count(role) > 0;
  }
  /// @param role "forward", "backward", "forward_keep", "backward_kept", "prefill", "keys" or "decode".
  Status run_block(int64_t layer, const std::string& role, const Extents& extents, const SiteBindings& sites,
                   const std::vector<InputTensor>& inputs, const std::vector<OutputTensor>& outputs);
  Status run_head(const Extents& extents, const std::vector<InputTensor>& inputs,
                  const std::vector<OutputTensor>& outputs);

 private:
  /// Where an input or output comes from, worked out once.
  enum class Source { kCaller, kWeight, kSiteA, kSiteB, kSiteScale };
  struct Slot {
    Source source = Source::kCaller;
    const void* weight = nullptr;
    size_t site = 0;
  };
  struct Call {
    const MethodSpec* spec = nullptr;
    std::vector<Slot> inputs, outputs;
  };

  explicit StageGraph(const Bundle& bundle) : bundle_(bundle) {}
  Result<Call> make_call(const std::string& method, const std::map<std::string, std::string>& weights,
                         const std::map<std::string, std::string>& sites) const;
  Result<Slot> site_slot(const std::string& name, const std::map<std::string, std::string>& sites) const;
  Status run(const Call& call, const Extents& extents, const SiteBindings& sites,
             const std::vector<InputTensor>& inputs, const std::vector<OutputTensor>& outputs);
  Status bind_input(Stage* stage, size_t index, const Slot& slot, const Extents& extents, const SiteBindings& sites,
                    const std::vector<InputTensor>& inputs) const;
  Status bind_output(Stage* stage, size_t index, const Slot& slot, const Extents& extents, const SiteBindings& sites,
                     const std::vector<OutputTensor>& outputs) const;

  const Bundle& bundle_;
  const ProgramSpec* program_spec_ = nullptr;
  std::unique_ptr<LoadedProgram> program_;
  Call embed_, head_;
  std::vector<std::map<std::string, Call>> blocks_;  ///< by layer, then role
  std::vector<int64_t> windows_;
  std::vector<std::vector<TensorSpec>> kept_;  ///< by layer
  const StageSet* set_ = nullptr;
  std::unique_ptr<const WeightStream> stream_;  ///< null = the base's pages come and go by themselves
};

}  // namespace pocketlora
