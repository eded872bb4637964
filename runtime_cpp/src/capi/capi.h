#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>

#include "adapters/adapter.h"
#include "common/result.h"
#include "engine/engine.h"
#include "pocketlora/pocketlora.h"
#include "session/session.h"
#include "trainer/packed_batch.h"
#include "trainer/trainer.h"

// What the opaque handles of the C API are.

struct pl_engine {
  std::shared_ptr<pocketlora::Engine> engine;
  std::string backend_note;
};

struct pl_adapter {
  pocketlora::Adapter::Pointer adapter;
};

struct pl_session {
  std::unique_ptr<pocketlora::Session> session;
};

struct pl_trainer {
  std::unique_ptr<pocketlora::Trainer> trainer;
  pocketlora::CheckpointFacts checkpoint;  ///< whose texts the caller may still read
  std::string skipped_checkpoints;
};

namespace pocketlora {

/// Keeps the message of a failure for pl_last_error(). @return its code.
pl_status report(const Status& status);
/// Fails with "`function`: `name` must not be null".
pl_status report_null(const char* function, const char* name);

/// Reads a struct of a caller that may know fewer or more fields than this library: what it does not have keeps its
/// default.
/// @return INVALID_ARGUMENT for a struct_size too small to be one of ours.
template <typename T>
Status read_struct(const T* from, const char* name, T* to) {
  if (from == nullptr) return Status();
  if (from->struct_size <= sizeof(size_t)) {
    return error(PL_INVALID_ARGUMENT, "%s.struct_size: expected %zu, found %zu: initialise the struct first", name,
                 sizeof(T), from->struct_size);
  }
  std::memcpy(to, from, from->struct_size < sizeof(T) ? from->struct_size : sizeof(T));
  to->struct_size = sizeof(T);
  return Status();
}

/// Gives a caller as much of the defaults as its struct has room for. What a later caller's struct has beyond ours is
/// zero. Null is fine, and so is a size without room for struct_size: read_struct refuses what is left then.
template <typename T>
void write_defaults(T defaults, T* to, size_t struct_size) {
  if (to == nullptr || struct_size < sizeof(size_t)) return;
  defaults.struct_size = struct_size;
  std::memset(static_cast<void*>(to), 0, struct_size);
  std::memcpy(static_cast<void*>(to), &defaults, struct_size < sizeof(T) ? struct_size : sizeof(T));
}

/// Whether a struct to be filled says its size: to fail before the work is done. Reads nothing else of it, for it may
/// be shorter than ours. Null is fine.
template <typename T>
Status check_output_struct(const T* to, const char* name) {
  if (to == nullptr || to->struct_size > sizeof(size_t)) return Status();
  return error(PL_INVALID_ARGUMENT, "%s.struct_size: expected %zu, found %zu: set it before the call", name, sizeof(T),
               to->struct_size);
}

/// read_struct's counterpart for a struct to be filled: fields beyond the caller's struct_size are left out.
template <typename T>
Status write_struct(const T& from, const char* name, T* to) {
  PL_RETURN_IF_ERROR(check_output_struct(to, name));
  const size_t size = to->struct_size;
  std::memcpy(static_cast<void*>(to), &from, size < sizeof(T) ? size : sizeof(T));
  to->struct_size = size;
  return Status();
}

Result<std::vector<WeightedAdapter>> weighted_adapters(const pl_adapter_ref* refs, size_t n);
Result<BatchView> batch_view(const pl_batch& batch, const char* name);
/// The batches of an array whose elements are as long as its caller's struct, which may know fewer or more fields.
Result<std::vector<BatchView>> batch_views(const pl_batch* batches, size_t n, const char* name);

}  // namespace pocketlora

/// Returns from a C function when an expression (a Status) failed.
#define PL_C_TRY(expression)                                         \
  do {                                                               \
    const ::pocketlora::Status pl_c_status = (expression);           \
    if (!pl_c_status.ok()) return ::pocketlora::report(pl_c_status); \
  } while (false)
#define PL_C_ASSIGN(declaration, expression) \
  PL_C_ASSIGN_IMPL(PL_CONCAT(pl_c_result_, __LINE__), declaration, expression)
#define PL_C_ASSIGN_IMPL(name, declaration, expression)       \
  auto name = (expression);                                   \
  if (!name.ok()) return ::pocketlora::report(name.status()); \
  declaration = std::move(name).value()
#define PL_C_REQUIRE(pointer) \
  if ((pointer) == nullptr) return ::pocketlora::report_null(__func__, #pointer)
