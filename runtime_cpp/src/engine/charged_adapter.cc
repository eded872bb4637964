#include "engine/charged_adapter.h"

#include <utility>

namespace pocketlora {
namespace {

struct ChargedAdapter {
  std::shared_ptr<Engine> engine;  // first: the charge is taken back from its account
  Adapter::Pointer adapter;
  MemoryCharge charge;
};

}  // namespace

Adapter::Pointer charge_adapter(std::shared_ptr<Engine> engine, Adapter::Pointer adapter) {
  MemoryCharge charge(&engine->account(), MemoryPart::kAdapter, adapter->nbytes());
  auto holder =
      std::make_shared<ChargedAdapter>(ChargedAdapter{std::move(engine), std::move(adapter), std::move(charge)});
  return Adapter::Pointer(holder, holder->adapter.get());
}

}  // namespace pocketlora
