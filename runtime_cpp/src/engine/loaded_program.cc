#include "engine/loaded_program.h"

#include <algorithm>
#include <utility>

#include "engine/backends.h"
#include "engine/executorch_log.h"
#include "engine/method_check.h"

namespace pocketlora {

using executorch::runtime::MethodMeta;
using executorch::runtime::Program;

LoadedProgram::LoadedProgram(MappedFile file, const ProgramSpec& spec, MemoryAccount* account)
    : file_(std::move(file)), spec_(spec), account_(account), loader_(file_.data(), file_.size()) {}

Result<std::unique_ptr<LoadedProgram>> LoadedProgram::open(const std::string& path, const ProgramSpec& spec,
                                                           MemoryAccount* account) {
  PL_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path, PL_BUNDLE_MISSING_FILE));
  std::unique_ptr<LoadedProgram> loaded(new LoadedProgram(std::move(file), spec, account));
  const ExecutorchLog log;
  auto program = Program::load(&loaded->loader_, Program::Verification::InternalConsistency);
  if (!program.ok()) {
    const std::string note = version_note(spec.lowered_by);
    return error(note.empty() ? PL_BUNDLE_CORRUPT : PL_BUNDLE_VERSION,
                 "%s is not a valid ExecuTorch program (%s): %s%s", path.c_str(),
                 executorch::runtime::to_string(program.error()), log.errors().c_str(), note.c_str());
  }
  loaded->program_ = std::make_unique<Program>(std::move(*program));
  PL_RETURN_IF_ERROR(loaded->check_methods());
  PL_RETURN_IF_ERROR(loaded->reserve_arena());
  return loaded;
}

Status LoadedProgram::check_methods() const {
  ProblemList problems;
  for (const MethodSpec& method : spec_.methods) {
    const auto meta = program_->method_meta(method.name.c_str());
    if (meta.ok()) {
      check_method(*meta, method, spec_.delegates, &problems);
    } else {
      problems.add(method.name + ": there is no such method");
    }
  }
  return problems.to_status(PL_BUNDLE_MISMATCH, file_.path() + " does not agree with manifest.json:");
}

Status LoadedProgram::reserve_arena() {
  std::vector<size_t> sizes;
  for (const MethodSpec& method : spec_.methods) {
    const auto meta = program_->method_meta(method.name.c_str());
    sizes.resize(std::max(sizes.size(), meta->num_memory_planned_buffers()), 0);
    for (size_t id = 0; id < meta->num_memory_planned_buffers(); ++id) {
      const auto bytes = meta->memory_planned_buffer_size(id);
      if (!bytes.ok() || *bytes < 0)
        return error(PL_BUNDLE_CORRUPT, "%s: a memory plan is not valid", file_.path().c_str());
      sizes[id] = std::max(sizes[id], static_cast<size_t>(*bytes));
    }
  }
  constexpr size_t kAlignment = 4096;
  std::vector<size_t> offsets;
  size_t total = 0;
  for (const size_t size : sizes) {
    offsets.push_back(total);
    total += (size + kAlignment - 1) / kAlignment * kAlignment;
  }
  PL_ASSIGN_OR_RETURN(arena_, ReservedBuffer::reserve(total, account_, MemoryPart::kArena));
  for (size_t id = 0; id < sizes.size(); ++id) spans_.emplace_back(arena_.data() + offsets[id], sizes[id]);
  return Status();
}

Result<Stage*> LoadedProgram::stage(const std::string& method) {
  const auto known = stages_.find(method);
  if (known != stages_.end()) return known->second.get();
  const MethodSpec* spec = spec_.find_method(method);
  if (spec == nullptr) return error(PL_INTERNAL, "%s has no method '%s'", file_.path().c_str(), method.c_str());
  const DelegateThreads threads;
  auto stage = Stage::load(*program_, *spec, spans_, &temporary_, account_);
  if (!stage.ok()) {
    const std::string note = version_note(spec_.lowered_by);
    return error(stage.status().code(), "%s: %s%s", file_.path().c_str(), stage.status().message().c_str(),
                 note.c_str());
  }
  return stages_.emplace(method, std::move(stage).value()).first->second.get();
}

}  // namespace pocketlora
