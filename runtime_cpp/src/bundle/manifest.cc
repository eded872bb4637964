#include "bundle/manifest.h"

#include <algorithm>

namespace pocketlora {
namespace {

template <typename T>
const T* find_named(const std::vector<T>& items, std::string_view name) {
  const auto it = std::find_if(items.begin(), items.end(), [name](const T& item) { return item.name == name; });
  return it == items.end() ? nullptr : &*it;
}

template <typename T>
const T* find_kind(const std::vector<T>& items, std::string_view backend, std::string_view kind) {
  const auto it = std::find_if(items.begin(), items.end(),
                               [&](const T& item) { return item.backend == backend && item.kind == kind; });
  return it == items.end() ? nullptr : &*it;
}

}  // namespace

int64_t ModelFacts::rope_width() const {
  int64_t width = 0;
  for (const RopeTable& table : rope) width += table.dim;
  return width;
}

size_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return 4;
    case DType::kInt64:
      return 8;
    case DType::kUint8:
      return 1;
  }
  return 0;
}

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kInt64:
      return "int64";
    case DType::kUint8:
      return "uint8";
  }
  return "?";
}

std::string shape_text(const std::vector<Dim>& shape) {
  std::string text = "[";
  for (const Dim& dim : shape) {
    if (text.size() > 1) text += ", ";
    switch (dim.kind) {
      case Dim::Kind::kFixed:
        text += std::to_string(dim.size);
        break;
      case Dim::Kind::kRows:
        text += "N";
        break;
      case Dim::Kind::kSegments:
        text += "S1";
        break;
      case Dim::Kind::kCache:
        text += "C";
        break;
      case Dim::Kind::kCacheRow:
        text += "K";
        break;
      case Dim::Kind::kRank:
        text += "R";
        break;
    }
  }
  return text + "]";
}

const MethodSpec* ProgramSpec::find_method(std::string_view method) const { return find_named(methods, method); }

const BaseTensorSpec* Manifest::find_base_tensor(const std::string& name) const {
  const auto found = base_tensor_at.find(name);
  return found == base_tensor_at.end() ? nullptr : &base_tensors[found->second];
}

const ProgramSpec* Manifest::find_program(std::string_view backend, std::string_view kind) const {
  return find_kind(programs, backend, kind);
}

const StageSet* Manifest::find_stages(std::string_view backend, std::string_view kind) const {
  return find_kind(stages, backend, kind);
}

int64_t Manifest::site_index(const std::string& name) const {
  const auto found = site_at.find(name);
  return found == site_at.end() ? -1 : static_cast<int64_t>(found->second);
}

}  // namespace pocketlora
