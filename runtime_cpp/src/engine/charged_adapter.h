#pragma once

#include <memory>

#include "adapters/adapter.h"
#include "engine/engine.h"

namespace pocketlora {

/// The same adapter, charged to its engine and keeping it alive for as long as anyone holds the pointer.
Adapter::Pointer charge_adapter(std::shared_ptr<Engine> engine, Adapter::Pointer adapter);

}  // namespace pocketlora
