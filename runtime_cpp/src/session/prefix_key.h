#pragma once

#include <cstdint>

#include "adapters/adapter_set.h"
#include "common/span.h"
#include "engine/blob_cache.h"
#include "kernels/attention/cache.h"
#include "kernels/q4/compute.h"

namespace pocketlora {

/// Names for the rows that one call computed, by everything that their bits depend on: the adapters with their weights,
/// the cache's format, how few rows are multiplied, all tokens up to the last of these rows, and how the calls cut
/// them. A chain of SHA-256: the name of a call's rows comes of the one before and of its tokens.
BlobCache::Key first_prefix_key(const AdapterSet& adapters, CacheFormat format, Compute compute);
BlobCache::Key next_prefix_key(const BlobCache::Key& before, Span<const int64_t> tokens);

}  // namespace pocketlora
