#include "engine/charged_adapter.h"

#include <utility>

namespace pocketlora {
namespace {

template <typename T>
std::shared_ptr<T> charged(std::shared_ptr<Engine> engine, std::shared_ptr<T> adapter) {
  struct Charged {
    std::shared_ptr<Engine> engine;  // first: the charge is taken back from its account
    std::shared_ptr<T> adapter;
    MemoryCharge charge;
  };
  MemoryCharge charge(&engine->account(), MemoryPart::kAdapter, adapter->nbytes());
  auto holder = std::make_shared<Charged>(Charged{std::move(engine), std::move(adapter), std::move(charge)});
  return std::shared_ptr<T>(holder, holder->adapter.get());
}

}  // namespace

Adapter::Pointer charge_adapter(std::shared_ptr<Engine> engine, Adapter::Pointer adapter) {
  return charged(std::move(engine), std::move(adapter));
}

std::shared_ptr<Adapter> charge_adapter(std::shared_ptr<Engine> engine, std::shared_ptr<Adapter> adapter) {
  return charged(std::move(engine), std::move(adapter));
}

}  // namespace pocketlora
