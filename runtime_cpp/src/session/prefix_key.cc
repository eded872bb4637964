#include "session/prefix_key.h"

#include "store/sha256.h"

namespace pocketlora {
namespace {

template <typename T>
void add(Sha256* hash, const T* values, size_t count) {
  hash->update(ByteSpan(reinterpret_cast<const uint8_t*>(values), count * sizeof(T)));
}

}  // namespace

BlobCache::Key first_prefix_key(const AdapterSet& adapters, CacheFormat format, Compute compute) {
  Sha256 hash;
  const int settings[] = {static_cast<int>(format), static_cast<int>(compute)};
  add(&hash, settings, 2);
  for (const WeightedAdapter& one : adapters.adapters()) {
    const uint64_t id = one.adapter->id();
    add(&hash, &id, 1);
    add(&hash, &one.weight, 1);
  }
  return hash.finish();
}

BlobCache::Key next_prefix_key(const BlobCache::Key& before, Span<const int64_t> tokens) {
  Sha256 hash;
  add(&hash, before.data(), before.size());
  add(&hash, tokens.data(), tokens.size());
  return hash.finish();
}

}  // namespace pocketlora
