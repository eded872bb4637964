#pragma once

#include <memory>
#include <string>

#include "pocketlora/pocketlora.h"
#include "tool_error.h"

namespace pocketlora_run {

template <typename T, void (*release)(T*)>
struct Release {
  void operator()(T* handle) const { release(handle); }
};
template <typename T, void (*release)(T*)>
using Handle = std::unique_ptr<T, Release<T, release>>;

using Engine = Handle<pl_engine, pl_engine_close>;
using Adapter = Handle<pl_adapter, pl_adapter_free>;
using Session = Handle<pl_session, pl_session_free>;
using Trainer = Handle<pl_trainer, pl_trainer_free>;

inline Adapter load_adapter(pl_engine* engine, const std::string& dir) {
  pl_adapter* adapter = nullptr;
  check(pl_adapter_load(engine, dir.c_str(), &adapter));
  return Adapter(adapter);
}

/// @param options NULL = the defaults
inline Session create_session(pl_engine* engine, const pl_session_options* options = nullptr) {
  pl_session* session = nullptr;
  check(pl_session_create(engine, options, &session));
  return Session(session);
}

}  // namespace pocketlora_run
