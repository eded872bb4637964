#include "trainer/activation_store.h"

#include <algorithm>
#include <utility>

#include "bundle/checked_size.h"

namespace pocketlora {

int64_t ActivationLayout::stored_state_bytes(int64_t rows) const {
  return rows * hidden_size * static_cast<int64_t>(float_format_size(format));
}

int64_t ActivationLayout::resident_states(int64_t rows) const {
  const int64_t kept = std::max<int64_t>(num_layers - 1, 0);
  if (resident_limit < 0) return kept;
  return std::min(kept, resident_limit / std::max<int64_t>(stored_state_bytes(rows), 1));
}

Result<int64_t> ActivationLayout::memory_bytes() const {
  PL_ASSIGN_OR_RETURN(const size_t all, bytes_of({num_layers + 1, max_rows, hidden_size, sizeof(float)}));
  const auto whole = static_cast<int64_t>(all);
  if (in_place()) return whole;
  const int64_t state = whole / (num_layers + 1);
  const int64_t staging = file_bytes() > 0 && format != FloatFormat::kFloat32 ? stored_state_bytes(max_rows) : 0;
  return 2 * state + resident_states(max_rows) * stored_state_bytes(max_rows) + staging;
}

int64_t ActivationLayout::file_bytes() const {
  const int64_t kept = std::max<int64_t>(num_layers - 1, 0);
  return (kept - resident_states(max_rows)) * stored_state_bytes(max_rows);
}

Result<ActivationStore> ActivationStore::create(const ActivationLayout& layout, const std::string& scratch_dir,
                                                MemoryAccount* account) {
  ActivationStore store(layout);
  constexpr MemoryPart kPart = MemoryPart::kBlockInputs;
  PL_RETURN_IF_ERROR(layout.memory_bytes().status());  // the products below do not wrap
  const auto state = static_cast<size_t>(layout.max_rows * layout.hidden_size) * sizeof(float);
  const auto stored = static_cast<size_t>(layout.stored_state_bytes(layout.max_rows));
  const size_t working = layout.in_place() ? static_cast<size_t>(layout.num_layers + 1) : 2;
  PL_ASSIGN_OR_RETURN(store.working_, ReservedBuffer::reserve(working * state, account, kPart));
  if (layout.in_place()) return store;
  store.kept_bytes_ = layout.resident_states(layout.max_rows) * layout.stored_state_bytes(layout.max_rows);
  PL_ASSIGN_OR_RETURN(store.kept_, ReservedBuffer::reserve(static_cast<size_t>(store.kept_bytes_), account, kPart));
  store.formats_.assign(static_cast<size_t>(layout.num_layers), layout.format);
  if (layout.file_bytes() == 0) return store;
  if (layout.format != FloatFormat::kFloat32) {
    PL_ASSIGN_OR_RETURN(store.staging_, ReservedBuffer::reserve(stored, account, kPart));
  }
  PL_ASSIGN_OR_RETURN(ScratchFile file, ScratchFile::create(scratch_dir));
  store.file_ = std::make_unique<ScratchFile>(std::move(file));
  return store;
}

float* ActivationStore::state(int64_t layer) const {
  return working_.as<float>() + (layout_.in_place() ? layer : layer % 2) * num_values();
}

uint8_t* ActivationStore::resident(int64_t layer) const {
  // The last layers stay: those that go out first have the longest time to reach the disk.
  const int64_t kept = layout_.num_layers - 1;
  const int64_t first = kept - std::min(kept, kept_bytes_ / std::max<int64_t>(layout_.stored_state_bytes(rows_), 1));
  return layer < first ? nullptr : kept_.data() + static_cast<size_t>(layer - first) * state_bytes();
}

bool ActivationStore::in_file(int64_t layer) const {
  return layer >= 0 && layer < layout_.num_layers - 1 && resident(layer) == nullptr;
}

Status ActivationStore::keep(int64_t layer) {
  if (layout_.in_place() || layer >= layout_.num_layers - 1) return Status();
  const float* values = state(layer);
  uint8_t* place = resident(layer);
  const size_t offset = static_cast<size_t>(layer) * state_bytes();
  if (layout_.format == FloatFormat::kFloat32 && place == nullptr) return file_->write(offset, values, state_bytes());
  uint8_t* to = place != nullptr ? place : staging_.data();
  FloatFormat& format = formats_[static_cast<size_t>(layer)];
  format = layout_.format;
  if (!store_floats(format, values, to, num_values()) && format == FloatFormat::kFloat16) {
    format = FloatFormat::kBfloat16;
    (void)store_floats(format, values, to, num_values());  // what is not finite in fp32 shows in the loss
  }
  return place != nullptr ? Status() : file_->write(offset, to, state_bytes());
}

Result<const float*> ActivationStore::recall(int64_t layer) {
  if (layout_.in_place()) return static_cast<const float*>(state(layer));
  // The last block's input is where the forward left it; its place then takes that of every other layer.
  float* to = state(layout_.num_layers - 1);
  if (layer < layout_.num_layers - 1) PL_RETURN_IF_ERROR(load(layer, to));
  if (in_file(layer - 1)) file_->will_need(static_cast<size_t>(layer - 1) * state_bytes(), state_bytes());
  return static_cast<const float*>(to);
}

Status ActivationStore::load(int64_t layer, float* to) const {
  const FloatFormat format = formats_[static_cast<size_t>(layer)];
  const uint8_t* from = resident(layer);
  if (from == nullptr) {
    const size_t offset = static_cast<size_t>(layer) * state_bytes();
    void* read_to = format == FloatFormat::kFloat32 ? static_cast<void*>(to) : staging_.data();
    PL_RETURN_IF_ERROR(file_->read(offset, read_to, state_bytes()));
    file_->discard(offset, state_bytes());
    if (format == FloatFormat::kFloat32) return Status();
    from = staging_.data();
  }
  load_floats(format, from, to, num_values());
  return Status();
}

}  // namespace pocketlora
