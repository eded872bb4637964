/**
 * Header-only C++17 face of the C API: owning handles, no exceptions.
 *
 *   pocketlora::Error error;
 *   auto engine = pocketlora::open_engine("bundle", nullptr, &error);
 *   if (!engine) { std::cerr << error.message; return error.status; }
 *   auto session = pocketlora::create_session(engine.get(), nullptr, &error);
 *
 * Everything else is called with handle.get() as in C; last_error() turns a failed call's status into an Error.
 */
#ifndef POCKETLORA_POCKETLORA_HPP_
#define POCKETLORA_POCKETLORA_HPP_

#include <pocketlora/pocketlora.h>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

namespace pocketlora {

/** Why a call failed. */
struct Error {
  pl_status status = PL_OK;
  std::string message;

  explicit operator bool() const { return status != PL_OK; }
};

/** @return the status with this thread's message when it is a failure. */
inline Error last_error(pl_status status) { return {status, status == PL_OK ? std::string() : pl_last_error()}; }

/** Releases a handle with its C function; destroying handles in any order is fine. */
struct Release {
  void operator()(pl_engine* engine) const { pl_engine_close(engine); }
  void operator()(pl_adapter* adapter) const { pl_adapter_free(adapter); }
  void operator()(pl_session* session) const { pl_session_free(session); }
  void operator()(pl_trainer* trainer) const { pl_trainer_free(trainer); }
  void operator()(pl_adapter_watch* watch) const { pl_adapter_watch_close(watch); }
};
using EngineHandle = std::unique_ptr<pl_engine, Release>;
using AdapterHandle = std::unique_ptr<pl_adapter, Release>;
using SessionHandle = std::unique_ptr<pl_session, Release>;
using TrainerHandle = std::unique_ptr<pl_trainer, Release>;
using AdapterWatchHandle = std::unique_ptr<pl_adapter_watch, Release>;

namespace detail {

/** Calls `create(&raw)` and wraps what it made. @param error may be null. */
template <typename Handle, typename Create>
Handle make(Error* error, const Create& create) {
  typename Handle::pointer raw = nullptr;
  const pl_status status = create(&raw);
  if (error != nullptr) *error = last_error(status);
  return Handle(status == PL_OK ? raw : nullptr);
}

/** A C struct initialised by its `pl_…_init_sized`. */
template <typename T>
T initialised(void (*init)(T*, size_t)) {
  T value;
  init(&value, sizeof(value));
  return value;
}

}  // namespace detail

/** Options with their defaults. */
inline pl_engine_options engine_options() { return detail::initialised(pl_engine_options_init_sized); }
inline pl_session_options session_options() { return detail::initialised(pl_session_options_init_sized); }
inline pl_generate_options generate_options() { return detail::initialised(pl_generate_options_init_sized); }
inline pl_adapter_watch_options adapter_watch_options() {
  return detail::initialised(pl_adapter_watch_options_init_sized);
}
inline pl_trainer_options trainer_options() { return detail::initialised(pl_trainer_options_init_sized); }
inline pl_checkpoint_options checkpoint_options() { return detail::initialised(pl_checkpoint_options_init_sized); }
inline pl_artifact_options artifact_options() { return detail::initialised(pl_artifact_options_init_sized); }

/** The makers give an empty handle on failure and say why in `error` (may be null); `options` may be null for the
 * defaults. */
inline EngineHandle open_engine(const std::string& bundle, const pl_engine_options* options, Error* error) {
  return detail::make<EngineHandle>(error,
                                    [&](pl_engine** out) { return pl_engine_open(bundle.c_str(), options, out); });
}
inline AdapterHandle load_adapter(pl_engine* engine, const std::string& dir, Error* error) {
  return detail::make<AdapterHandle>(error,
                                     [&](pl_adapter** out) { return pl_adapter_load(engine, dir.c_str(), out); });
}
inline AdapterWatchHandle watch_adapters(pl_engine* engine, const std::string& dir,
                                         const pl_adapter_watch_options* options, Error* error) {
  return detail::make<AdapterWatchHandle>(
      error, [&](pl_adapter_watch** out) { return pl_adapter_watch_open(engine, dir.c_str(), options, out); });
}
inline SessionHandle create_session(pl_engine* engine, const pl_session_options* options, Error* error) {
  return detail::make<SessionHandle>(error, [&](pl_session** out) { return pl_session_create(engine, options, out); });
}
inline SessionHandle fork_session(const pl_session* session, Error* error) {
  return detail::make<SessionHandle>(error, [&](pl_session** out) { return pl_session_fork(session, out); });
}
inline TrainerHandle create_trainer(pl_engine* engine, const pl_trainer_options* options, const pl_adapter* init,
                                    Error* error) {
  return detail::make<TrainerHandle>(error,
                                     [&](pl_trainer** out) { return pl_trainer_create(engine, options, init, out); });
}
inline AdapterHandle trained_adapter(const pl_trainer* trainer, Error* error) {
  return detail::make<AdapterHandle>(error, [&](pl_adapter** out) { return pl_trainer_get_adapter(trainer, out); });
}
inline AdapterHandle best_adapter(const pl_trainer* trainer, Error* error) {
  return detail::make<AdapterHandle>(error,
                                     [&](pl_adapter** out) { return pl_trainer_get_best_adapter(trainer, out); });
}

/** What a trainer was planned for. @param error may be null. @return zeros on failure. */
inline pl_trainer_info trainer_info(const pl_trainer* trainer, Error* error) {
  pl_trainer_info info = {};
  info.struct_size = sizeof(info);
  const pl_status status = pl_trainer_get_info(trainer, &info);
  if (error != nullptr) *error = last_error(status);
  return info;
}

/** Replaces the whole set with adapters at weight 1; an empty list returns to the bare base. */
inline Error set_adapters(pl_session* session, std::initializer_list<const pl_adapter*> adapters) {
  std::vector<pl_adapter_ref> refs;
  for (const pl_adapter* adapter : adapters) refs.push_back({adapter, 1.0F});
  return last_error(pl_session_set_adapters(session, refs.data(), refs.size()));
}

}  // namespace pocketlora

#endif  // POCKETLORA_POCKETLORA_HPP_
