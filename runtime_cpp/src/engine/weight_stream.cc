#include "engine/weight_stream.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace pocketlora {
namespace {

void add_tensors(const BaseMap& base, const Manifest& manifest, const std::map<std::string, std::string>& weights,
                 std::vector<PageRange>* tensors) {
  for (const auto& [input, name] : weights) {
    const uint8_t* data = base.find(name);
    const BaseTensorSpec* spec = manifest.find_base_tensor(name);
    if (data == nullptr || spec == nullptr) continue;  // refused where the stages are bound
    const auto begin = static_cast<size_t>(data - base.file().data());
    tensors->push_back({begin, begin + static_cast<size_t>(spec->nbytes)});
  }
}

std::vector<PageRange> pages_of(std::vector<PageRange> tensors) {
  return page_ranges(std::move(tensors), static_cast<size_t>(::sysconf(_SC_PAGESIZE)));
}

std::vector<PageRange> ranges_of(const BaseMap& base, const Manifest& manifest,
                                 const std::map<std::string, std::string>& weights) {
  std::vector<PageRange> tensors;
  add_tensors(base, manifest, weights, &tensors);
  return pages_of(std::move(tensors));
}

}  // namespace

std::vector<PageRange> page_ranges(std::vector<PageRange> tensors, size_t page) {
  std::sort(tensors.begin(), tensors.end(), [](const PageRange& a, const PageRange& b) { return a.begin < b.begin; });
  std::vector<PageRange> ranges;
  for (const PageRange& tensor : tensors) {
    const PageRange pages = {tensor.begin / page * page, (tensor.end + page - 1) / page * page};
    if (!ranges.empty() && pages.begin <= ranges.back().end) {
      ranges.back().end = std::max(ranges.back().end, pages.end);
    } else {
      ranges.push_back(pages);
    }
  }
  return ranges;
}

WeightStream::WeightStream(const BaseMap& base, const Manifest& manifest, const StageSet& stages) : base_(base) {
  for (const BlockSpec& block : stages.blocks) layers_.push_back(ranges_of(base, manifest, block.weights));
  embed_ = ranges_of(base, manifest, stages.embed.weights);
  head_ = ranges_of(base, manifest, stages.head.weights);
}

void WeightStream::prefer_huge_pages(const BaseMap& base, const Manifest& manifest, const StageSet& stages) {
  std::vector<PageRange> tensors;
  for (const BlockSpec& block : stages.blocks) add_tensors(base, manifest, block.weights, &tensors);
  add_tensors(base, manifest, stages.head.weights, &tensors);
  for (const PageRange& range : pages_of(std::move(tensors))) {
    base.file().advise(range.begin, range.end - range.begin, MADV_HUGEPAGE);
  }
}

void WeightStream::before_block(int64_t index, Walk walk) const {
  const auto count = static_cast<int64_t>(layers_.size());
  const int64_t next = walk == Walk::kUp ? index + 1 : index - 1;
  if (next >= 0 && next < count) announce(layer(next));
  if (next == count) announce(head_);
}

void WeightStream::after_block(int64_t index, Walk walk, bool turns) const {
  if (turns && walk == Walk::kUp && index + 1 == static_cast<int64_t>(layers_.size())) return;
  release(layer(index));
}

void WeightStream::announce(const std::vector<PageRange>& ranges) const {
  for (const PageRange& range : ranges) base_.file().advise(range.begin, range.end - range.begin, MADV_WILLNEED);
}

void WeightStream::release(const std::vector<PageRange>& ranges) const {
  for (const PageRange& range : ranges) base_.file().advise(range.begin, range.end - range.begin, MADV_DONTNEED);
}

}  // namespace pocketlora
