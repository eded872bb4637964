#pragma once

#include <sodium/crypto_hash_sha256.h>

#include <array>
#include <string>

#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

/// SHA-256 of a stream.
class Sha256 {
 public:
  Sha256();
  void update(ByteSpan bytes);
  /// @return the 32 bytes; the object is used up.
  std::array<uint8_t, 32> finish();
  /// @return 64 lower-case hex digits; the object is used up.
  std::string finish_hex();

 private:
  crypto_hash_sha256_state state_;
};

/// @return 64 lower-case hex digits.
std::string sha256_hex(ByteSpan bytes);

/// Hashes a file by reading it in chunks (no page stays resident on our account).
/// @param missing code used when the file does not exist.
Result<std::string> sha256_file(const std::string& path, pl_status missing);

}  // namespace pocketlora
