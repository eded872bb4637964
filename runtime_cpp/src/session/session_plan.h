#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bundle/manifest.h"
#include "common/result.h"
#include "session/kv_cache.h"

namespace pocketlora {

/// What a session takes, whatever its context.
struct SessionNeeds {
  std::vector<MemoryRow>
      costs;  ///< of the inference program, by rising rows; the last one is the bundle's largest call
  int64_t num_threads = 1;
  int64_t held = 0;                    ///< what the engine holds or has promised already
  int64_t arena_present = 0;           ///< of that, the inference program's arena: it is used again
  int64_t kernel_scratch_present = 0;  ///< the process': used again as well
  KvCacheShape largest;                ///< the bundle's longest context; its format is not looked at
};

/// What the caller fixed, and the limit.
struct SessionWishes {
  int64_t memory_limit = 0;    ///< 0 = none
  int64_t context_length = 0;  ///< 0 = the longest that fits
  std::optional<CacheFormat> format;
  int64_t rows = 0;  ///< of a call; 0 = as many as fit
};

struct SessionPlan {
  KvCacheShape cache;  ///< largest_write is the rows of a call
  int64_t bytes = 0;   ///< with what the engine held before
};

/// The whole context if any setting within the limit has it, in this order: the formats that are allowed from the
/// widest to the narrowest, and for each of them as many rows a call as possible. Otherwise, when the length is free,
/// the longest context that the narrowest format and the fewest rows leave room for. @return OUT_OF_MEMORY with the
/// numbers when nothing fits.
Result<SessionPlan> plan_session(const SessionNeeds& needs, const SessionWishes& wishes);

}  // namespace pocketlora
