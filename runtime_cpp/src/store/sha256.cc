#include "store/sha256.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace pocketlora {
namespace {

/// Small enough to stay in the nearest caches.
constexpr size_t kChunk = size_t{1} << 16;

}  // namespace

Sha256::Sha256() { crypto_hash_sha256_init(&state_); }

void Sha256::update(ByteSpan bytes) { crypto_hash_sha256_update(&state_, bytes.data(), bytes.size()); }

std::array<uint8_t, 32> Sha256::finish() {
  static_assert(crypto_hash_sha256_BYTES == 32, "one digest");
  std::array<uint8_t, 32> digest;
  crypto_hash_sha256_final(&state_, digest.data());
  return digest;
}

std::string Sha256::finish_hex() {
  const std::array<uint8_t, 32> digest = finish();
  static const char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * digest.size());
  for (const uint8_t byte : digest) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

std::string sha256_hex(ByteSpan bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish_hex();
}

Result<std::string> sha256_file(const std::string& path, pl_status missing) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return error(missing, "%s: there is no such file", path.c_str());
    return error(PL_IO_READ, "%s: cannot be opened: %s", path.c_str(), std::strerror(errno));
  }
  Sha256 hash;
  std::vector<uint8_t> chunk(kChunk);
  ssize_t count = 0;
  do {
    count = ::read(descriptor, chunk.data(), chunk.size());
    if (count > 0) hash.update(ByteSpan(chunk.data(), static_cast<size_t>(count)));
  } while (count > 0 || (count < 0 && errno == EINTR));
  const int read_error = errno;
  ::close(descriptor);
  if (count < 0) return error(PL_IO_READ, "%s: cannot be read: %s", path.c_str(), std::strerror(read_error));
  return hash.finish_hex();
}

}  // namespace pocketlora
