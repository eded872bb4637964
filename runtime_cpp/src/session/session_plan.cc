#include "session/session_plan.h"

#include <algorithm>

namespace pocketlora {
namespace {

SessionPlan plan_of(const SessionNeeds& needs, CacheFormat format, const MemoryRow& cost, int64_t context) {
  SessionPlan plan;
  plan.cache = needs.largest;
  plan.cache.format = format;
  plan.cache.capacity = context;
  plan.cache.largest_write = cost.rows;
  const int64_t scratch = cost.scratch + needs.num_threads * cost.scratch_per_thread + plan.cache.staged_bytes();
  plan.bytes = needs.held + std::max<int64_t>(cost.arena - needs.arena_present, 0) +
               std::max(scratch, needs.kernel_scratch_present) + plan.cache.most_resident();
  return plan;
}

/// Whether the op can tell the format from the size of a row.
bool usable(CacheFormat format, int64_t head_dim) {
  CacheFormat told{};
  return cache_format_of(cache_head_bytes(format, head_dim), head_dim, &told) && told == format;
}

std::vector<CacheFormat> formats(const SessionNeeds& needs, const SessionWishes& wishes) {
  if (wishes.format.has_value()) return {*wishes.format};
  if (wishes.memory_limit == 0) return {CacheFormat::kFloat32};
  std::vector<CacheFormat> all;
  for (const CacheFormat format : kCacheFormats) {
    if (usable(format, needs.largest.head_dim)) all.push_back(format);
  }
  return all;
}

Status refusal(const SessionWishes& wishes, const SessionPlan& smallest, int64_t longest) {
  const std::string advice = longest > 0 ? format(", a context of %lld tokens", static_cast<long long>(longest)) : "";
  return error(PL_OUT_OF_MEMORY,
               "a session does not fit the memory limit of %lld bytes: %lld tokens of context in %s, %lld rows a call, "
               "come to %lld bytes with what the engine holds. That limit would do%s%s",
               static_cast<long long>(wishes.memory_limit), static_cast<long long>(smallest.cache.capacity),
               cache_format_name(smallest.cache.format), static_cast<long long>(smallest.cache.largest_write),
               static_cast<long long>(smallest.bytes), advice.c_str(),
               wishes.format.has_value() && *wishes.format != CacheFormat::kInt8 ? ", or a narrower cache" : "");
}

/// The longest context of a setting within the limit; 0 = none.
int64_t longest_context(const SessionNeeds& needs, const SessionWishes& wishes, CacheFormat format) {
  int64_t fits = 0, beyond = needs.largest.capacity + 1;
  while (beyond - fits > 1) {
    const int64_t middle = fits + (beyond - fits) / 2;
    const bool good = plan_of(needs, format, needs.costs.front(), middle).bytes <= wishes.memory_limit;
    (good ? fits : beyond) = middle;
  }
  return fits;
}

}  // namespace

Result<SessionPlan> plan_session(const SessionNeeds& needs, const SessionWishes& wishes) {
  const int64_t whole = wishes.context_length > 0 ? wishes.context_length : needs.largest.capacity;
  const std::vector<CacheFormat> allowed = formats(needs, wishes);
  for (const CacheFormat format : allowed) {
    for (auto cost = needs.costs.rbegin(); cost != needs.costs.rend(); ++cost) {
      if (wishes.rows > 0 && cost->rows != wishes.rows) continue;
      const SessionPlan plan = plan_of(needs, format, *cost, whole);
      if (wishes.memory_limit == 0 || plan.bytes <= wishes.memory_limit) return plan;
    }
  }
  const CacheFormat narrowest = allowed.back();
  const int64_t longest = longest_context(needs, wishes, narrowest);
  if (wishes.context_length == 0 && longest > 0) return plan_of(needs, narrowest, needs.costs.front(), longest);
  const int64_t asked = wishes.context_length > 0 ? whole : 1;
  return refusal(wishes, plan_of(needs, narrowest, needs.costs.front(), asked), longest);
}

}  // namespace pocketlora
