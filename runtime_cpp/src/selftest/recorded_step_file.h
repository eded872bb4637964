#pragma once

#include <string>

#include "selftest/recorded_step.h"

namespace pocketlora {

/// The name of a bundle's recorded step.
inline constexpr const char* kSelfTestFile = "self_test.json";

/// @return whether the manifest lists one.
bool has_self_test(const Manifest& manifest);

/// @param path for messages. @return BUNDLE_CORRUPT with everything that is wrong with it, BUNDLE_VERSION.
Result<SelfTestRecord> parse_self_test(const std::string& text, const std::string& path);
/// Of an opened bundle. @return INVALID_STATE when it has none.
Result<SelfTestRecord> read_self_test(const Bundle& bundle);
std::string self_test_text(const SelfTestRecord& record);

}  // namespace pocketlora
