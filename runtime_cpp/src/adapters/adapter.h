#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapters/adapter_config.h"
#include "adapters/adapter_layout.h"
#include "adapters/adapter_tensors.h"
#include "common/result.h"

namespace pocketlora {

class AtomicDirectory;
class SafetensorsFile;

/// A LoRA adapter over one bundle's layout. Immutable once it is shared, which is by pointer.
class Adapter {
 public:
  using Pointer = std::shared_ptr<const Adapter>;

  /// Reads a PEFT folder and checks it against its checksums.json, where it has one, and the layout; all mismatches of
  /// a kind are listed in one error.
  static Result<Pointer> load(std::shared_ptr<const AdapterLayout> layout, const std::string& dir);

  /// The tensors alone, for a config that is known. @param path of a safetensors file as write_tensors() makes it.
  static Result<Pointer> load_tensors(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config,
                                      const std::string& path);

  /// A new adapter: A Kaiming-uniform in [-1/sqrt(in), 1/sqrt(in)) (PEFT's initialisation), B = 0. Element e (counting
  /// over all A matrices in the layout's order, row-major) is the e-th output of SplitMix64 started at `seed`, its
  /// upper 24 bits taken as u in [0, 1), A = (2u - 1) / sqrt(in). @param target_modules empty = all of the layout's.
  static Result<std::shared_ptr<Adapter>> create(std::shared_ptr<const AdapterLayout> layout, int64_t rank,
                                                 double alpha, const std::vector<std::string>& target_modules,
                                                 uint64_t seed);

  /// Wraps trained tensors (allocated with config.site_ranks); their scales are set from the config.
  static std::shared_ptr<Adapter> from_tensors(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config,
                                               AdapterTensors tensors);

  /// A mutable copy of the tensors, for training.
  Result<AdapterTensors> clone_tensors() const;

  /// Writes adapter_config.json, README.md and adapter_model.safetensors (fp32) as PEFT does, atomically.
  Status save(const std::string& dir) const;
  /// The same files into a folder that the caller commits. @param training section of Markdown for the card.
  Status write(AtomicDirectory* folder, const std::string& training = "") const;
  /// The tensors alone.
  Status write_tensors(const std::string& path) const;

  const AdapterLayout& layout() const { return *layout_; }
  const std::shared_ptr<const AdapterLayout>& shared_layout() const { return layout_; }
  const AdapterConfig& config() const { return config_; }
  /// Of this adapter alone in this process, now and later.
  uint64_t id() const { return id_; }
  AdapterSiteView site(size_t index) const;
  int64_t nbytes() const { return tensors_.nbytes(); }

  /// For a trainer that nobody shares the adapter with.
  AdapterTensors& tensors() { return tensors_; }
  void set_dropout(double dropout) { config_.dropout = dropout; }

 private:
  Adapter(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config, AdapterTensors tensors);
  static Result<Pointer> from_file(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config,
                                   const SafetensorsFile& file);

  uint64_t id_;
  std::shared_ptr<const AdapterLayout> layout_;
  AdapterConfig config_;
  AdapterTensors tensors_;
};

}  // namespace pocketlora
