#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bundle/base_map.h"
#include "bundle/manifest.h"

namespace pocketlora {

/// Whole pages of the base, as offsets into its file.
struct PageRange {
  size_t begin = 0, end = 0;
  bool operator==(const PageRange& other) const { return begin == other.begin && end == other.end; }
};

/// The pages of some tensors (offset, bytes), joined where they touch. A layer's tensors lie one after the other, so
/// that it is one range.
std::vector<PageRange> page_ranges(std::vector<PageRange> tensors, size_t page);

/// Reads the weights of the stage that comes next and lets go of those of the one that is done, so that the process
/// holds about two layers of the base at a time. The pages are clean, dropped ones stay in the page cache while the
/// system has room for them, and nothing changes in what is computed.
class WeightStream {
 public:
  enum class Walk { kUp, kDown };

  /// @param base outlives the stream.
  WeightStream(const BaseMap& base, const Manifest& manifest, const StageSet& stages);

  /// Asks for large pages where a stage reads whole tensors: fewer page faults and TLB misses, where the file's system
  /// has them. Rows of an embedding table are read here and there, so that it is left out.
  static void prefer_huge_pages(const BaseMap& base, const Manifest& manifest, const StageSet& stages);

  void before_embed() const { announce(layer(0)); }
  void after_embed() const { release(embed_); }
  /// Before block `index` runs: asks for the one that follows on this walk, and for the head after the last.
  void before_block(int64_t index, Walk walk) const;
  /// The last block of a walk up stays: the backward begins with it.
  void after_block(int64_t index, Walk walk, bool turns) const;
  void after_head() const { release(head_); }

  const std::vector<PageRange>& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }

 private:
  void announce(const std::vector<PageRange>& ranges) const;
  void release(const std::vector<PageRange>& ranges) const;

  const BaseMap& base_;
  std::vector<std::vector<PageRange>> layers_;
  std::vector<PageRange> embed_, head_;
};

}  // namespace pocketlora
