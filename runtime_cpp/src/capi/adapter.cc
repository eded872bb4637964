#include "capi/capi.h"
#include "engine/charged_adapter.h"

pl_status pl_adapter_load(pl_engine* engine, const char* dir, pl_adapter** out) {
  PL_C_REQUIRE(engine);
  PL_C_REQUIRE(dir);
  PL_C_REQUIRE(out);
  PL_C_ASSIGN(auto adapter, pocketlora::Adapter::load(engine->engine->layout(), dir));
  *out = new pl_adapter{charge_adapter(engine->engine, std::move(adapter))};
  return PL_OK;
}

pl_status pl_adapter_save(const pl_adapter* adapter, const char* dir) {
  PL_C_REQUIRE(adapter);
  PL_C_REQUIRE(dir);
  return pocketlora::report(adapter->adapter->save(dir));
}

void pl_adapter_free(pl_adapter* adapter) { delete adapter; }
