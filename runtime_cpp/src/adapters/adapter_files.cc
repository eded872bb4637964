// Adapter::load and Adapter::save: PEFT's folder.

#include <algorithm>
#include <cmath>
#include <set>

#include "adapters/adapter.h"
#include "adapters/adapter_card.h"
#include "adapters/adapter_checksums.h"
#include "common/json_access.h"
#include "store/atomic_file.h"
#include "store/float_formats.h"
#include "store/safetensors.h"

namespace pocketlora {
namespace {

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kTensorFile[] = "adapter_model.safetensors";
constexpr char kCardFile[] = "README.md";
const char* const kRunFiles[] = {"metadata.json", "training_metrics.jsonl", kAdapterChecksumsFile};
constexpr char kBaseHashKey[] = "pocketlora.base_sha256";

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

// What an entry of two long names and numbers never reaches, and room for metadata of other tools.
size_t max_header(const AdapterLayout& layout) {
  constexpr size_t kPerTensor = 4 << 10;
  constexpr size_t kMetadata = 64 << 10;
  return std::min(kMaxSafetensorsHeader, kMetadata + 2 * layout.sites.size() * kPerTensor);
}

Status check_base(const AdapterLayout& layout, const SafetensorsFile& file) {
  const auto found = file.metadata().find(kBaseHashKey);
  if (found == file.metadata().end() || found->second == layout.base_sha256) return Status();
  return error(PL_ADAPTER_OTHER_BASE, "%s: the adapter was trained over another base: expected %s, found %s",
               file.path().c_str(), layout.base_sha256.c_str(), found->second.c_str());
}

void check_tensor(const SafetensorsFile& file, const std::string& name, const std::vector<int64_t>& shape,
                  ProblemList* problems) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) return problems->add(name + ": missing, expected shape " + shape_text(shape));
  if (entry->shape != shape) {
    problems->add(name + ": expected shape " + shape_text(shape) + ", found " + shape_text(entry->shape));
  }
  if (!is_float_dtype(entry->dtype)) problems->add(name + ": expected dtype F32, F16 or BF16, found " + entry->dtype);
}

std::vector<bool> sites_with_tensors(const AdapterLayout& layout, const SafetensorsFile& file) {
  std::vector<bool> present;
  for (const AdapterSiteLayout& site : layout.sites) {
    present.push_back(file.find(peft_tensor_name(site.name, 'A')) != nullptr ||
                      file.find(peft_tensor_name(site.name, 'B')) != nullptr);
  }
  return present;
}

// Every tensor that the config promises, in its shape, and nothing else: an ignored tensor would be an adapter without
// effect.
Status check_tensors(const AdapterLayout& layout, const AdapterConfig& config, const SafetensorsFile& file) {
  ProblemList problems;
  std::set<std::string> expected;
  for (size_t i = 0; i < layout.sites.size(); ++i) {
    const AdapterSiteLayout& site = layout.sites[i];
    const int64_t rank = config.site_ranks[i];
    if (rank == 0) continue;
    const std::string a = peft_tensor_name(site.name, 'A');
    const std::string b = peft_tensor_name(site.name, 'B');
    check_tensor(file, a, {rank, site.in_features}, &problems);
    check_tensor(file, b, {site.out_features, rank}, &problems);
    expected.insert({a, b});
  }
  for (const auto& named : file.entries()) {
    if (expected.count(named.first) == 0) {
      problems.add(named.first + ": not expected, found shape " + shape_text(named.second.shape));
    }
  }
  if (expected.empty()) problems.add("no linear layer of this bundle is adapted");
  return problems.to_status(PL_ADAPTER_MISMATCH,
                            file.path() + ": the tensors do not fit this bundle and adapter_config.json");
}

void read_tensor(const SafetensorsFile& file, const std::string& name, float* out, ProblemList* not_finite) {
  const SafetensorsEntry& entry = *file.find(name);
  to_float32(entry, out);
  for (int64_t i = 0; i < entry.numel; ++i) {
    if (!std::isfinite(out[i]))
      return not_finite->addf("%s: element %lld is %f", name.c_str(), static_cast<long long>(i), out[i]);
  }
}

Result<SafetensorsFile> open_tensors(const AdapterLayout& layout, const std::string& path) {
  return SafetensorsFile::open(path, PL_ADAPTER_MISSING_FILE, PL_ADAPTER_CORRUPT, max_header(layout));
}

}  // namespace

Result<Adapter::Pointer> Adapter::load(std::shared_ptr<const AdapterLayout> layout, const std::string& dir) {
  const std::string path = dir + "/" + kTensorFile;
  PL_RETURN_IF_ERROR(check_adapter_checksums(dir));
  PL_ASSIGN_OR_RETURN(const SafetensorsFile file, open_tensors(*layout, path));
  PL_RETURN_IF_ERROR(check_base(*layout, file));
  PL_ASSIGN_OR_RETURN(AdapterConfig config,
                      read_adapter_config(*layout, sites_with_tensors(*layout, file), dir + "/" + kConfigFile));
  return from_file(std::move(layout), std::move(config), file);
}

Result<Adapter::Pointer> Adapter::load_tensors(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config,
                                               const std::string& path) {
  PL_ASSIGN_OR_RETURN(const SafetensorsFile file, open_tensors(*layout, path));
  PL_RETURN_IF_ERROR(check_base(*layout, file));
  return from_file(std::move(layout), std::move(config), file);
}

Result<Adapter::Pointer> Adapter::from_file(std::shared_ptr<const AdapterLayout> layout, AdapterConfig config,
                                            const SafetensorsFile& file) {
  PL_RETURN_IF_ERROR(check_tensors(*layout, config, file));
  PL_ASSIGN_OR_RETURN(AdapterTensors tensors, AdapterTensors::allocate(*layout, config.site_ranks));
  ProblemList not_finite;
  for (size_t i = 0; i < layout->sites.size(); ++i) {
    const AdapterSite& site = tensors.sites()[i];
    if (site.rank == 0) continue;
    read_tensor(file, peft_tensor_name(layout->sites[i].name, 'A'), site.a, &not_finite);
    read_tensor(file, peft_tensor_name(layout->sites[i].name, 'B'), site.b, &not_finite);
  }
  PL_RETURN_IF_ERROR(not_finite.to_status(PL_ADAPTER_CORRUPT, file.path() + ": values that are not finite"));
  return Pointer(from_tensors(std::move(layout), std::move(config), std::move(tensors)));
}

Status Adapter::write_tensors(const std::string& path) const {
  std::vector<Float32Tensor> tensors;
  for (size_t i = 0; i < layout_->sites.size(); ++i) {
    const AdapterSiteLayout& layout = layout_->sites[i];
    const AdapterSiteView view = site(i);
    if (view.rank == 0) continue;
    tensors.push_back({peft_tensor_name(layout.name, 'A'), {view.rank, layout.in_features}, view.a});
    tensors.push_back({peft_tensor_name(layout.name, 'B'), {layout.out_features, view.rank}, view.b});
  }
  return write_safetensors(path, tensors, {{"format", "pt"}, {kBaseHashKey, layout_->base_sha256}});
}

Status Adapter::write(AtomicDirectory* folder, const std::string& training) const {
  PL_RETURN_IF_ERROR(write_whole_file(folder->add(kCardFile), adapter_card(*layout_, config_, training)));
  PL_RETURN_IF_ERROR(write_whole_file(folder->add(kConfigFile), adapter_config_text(*layout_, config_)));
  return write_tensors(folder->add(kTensorFile));
}

Status Adapter::save(const std::string& dir) const {
  PL_ASSIGN_OR_RETURN(AtomicDirectory folder, AtomicDirectory::create(dir));
  PL_RETURN_IF_ERROR(write(&folder));
  // What another adapter's training left behind in this place does not belong to this one.
  for (const char* name : kRunFiles) folder.retire(name);
  return folder.commit();
}

}  // namespace pocketlora
