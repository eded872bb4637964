#pragma once

#include <memory>

#include "adapters/adapter.h"
#include "engine/engine.h"

namespace pocketlora {

/// The same adapter, charged to its engine and keeping it alive for as long as anyone holds the pointer.
Adapter::Pointer charge_adapter(std::shared_ptr<Engine> engine, Adapter::Pointer adapter);
/// For one that a trainer still writes to.
std::shared_ptr<Adapter> charge_adapter(std::shared_ptr<Engine> engine, std::shared_ptr<Adapter> adapter);

}  // namespace pocketlora
