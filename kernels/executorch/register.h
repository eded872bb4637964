#pragma once

namespace pocketlora {

/**
 * Registers every op of docs/stages.md with ExecuTorch under `pocketlora::<op>.out`. To be called before a program is
 * loaded; further calls do nothing. An explicit call, so that no linker drops it.
 *
 * @return false when ExecuTorch refused; the reason is in its log
 */
bool register_pocketlora_ops();

}  // namespace pocketlora
