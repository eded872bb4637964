#include "watch/adapter_watch.h"

#include "capi/capi.h"

struct pl_adapter_watch {
  std::unique_ptr<pocketlora::AdapterWatch> watch;
};

void pl_adapter_watch_options_init_sized(pl_adapter_watch_options* options, size_t struct_size) {
  const pocketlora::WatchOptions defaults;
  pl_adapter_watch_options told = {};
  told.settle_ms = defaults.settle_ms;
  told.interval_ms = defaults.interval_ms;
  pocketlora::write_defaults(told, options, struct_size);
}

pl_status pl_adapter_watch_open(pl_engine* engine, const char* dir, const pl_adapter_watch_options* options,
                                pl_adapter_watch** out) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(dir);
  PL_C_REQUIRE(out);
  pl_adapter_watch_options given;
  pl_adapter_watch_options_init(&given);
  PL_C_TRY(pocketlora::read_struct(options, "options", &given));
  const pocketlora::WatchOptions wanted = {given.settle_ms, given.interval_ms, given.poll_only == 0};
  PL_C_ASSIGN(auto watch, pocketlora::AdapterWatch::open(engine->engine, dir, wanted));
  *out = new pl_adapter_watch{std::move(watch)};
  return PL_OK;
}

void pl_adapter_watch_close(pl_adapter_watch* watch) { delete watch; }

pl_status pl_adapter_watch_poll(pl_adapter_watch* watch, int64_t timeout_ms, pl_adapter_callback callback, void* user) {
  static_assert(PL_WATCH_REJECTED == static_cast<int>(pocketlora::AdapterChange::kRejected), "one numbering");
  PL_C_REQUIRE(watch);
  PL_C_ASSIGN(const auto events, watch->watch->poll(timeout_ms));
  if (callback == nullptr) return PL_OK;
  for (const pocketlora::AdapterEvent& event : events) {
    const pl_adapter adapter = {event.adapter};
    pl_adapter_event told = {};
    told.struct_size = sizeof(told);
    told.change = static_cast<pl_adapter_change>(event.change);
    told.name = event.name.c_str();
    told.adapter = event.adapter == nullptr ? nullptr : &adapter;
    told.status = event.status.code();
    told.message = event.status.message().c_str();
    callback(&told, user);
  }
  return PL_OK;
}

pl_status pl_adapter_watch_get(const pl_adapter_watch* watch, const char* name, pl_adapter** out) {
  PL_C_REQUIRE(watch);
  PL_C_REQUIRE(name);
  PL_C_REQUIRE(out);
  pocketlora::Adapter::Pointer adapter = watch->watch->find(name);
  if (adapter == nullptr) {
    return pocketlora::report(
        pocketlora::error(PL_ADAPTER_MISSING_FILE, "the watched folder holds no adapter '%s'", name));
  }
  *out = new pl_adapter{std::move(adapter)};
  return PL_OK;
}
