#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/splitmix64.h"

namespace pocketlora {

/// Every way in which a Corruption may change a file.
enum class DamageKind {
  kFlippedBit,
  kTruncated,
  kSwappedBytes,   ///< two different bytes exchanged
  kInsertedBytes,  ///< 1 to 16 random ones
  kRemovedBytes,   ///< 1 to 16
  kZeroedPage,     ///< up to 4096 bytes
  kNumber,         ///< of a JSON text: another number
  kHugeNumber,     ///< of a JSON text or of a header's length: one that nothing has room for
  kString,         ///< of a JSON text: one character changed
  kKey,            ///< of a JSON text: one character changed
  kDuplicateKey,   ///< of a JSON text: a member given twice
  kSpace,          ///< of a JSON text: white space between two tokens, which means nothing where nothing is hashed
  kDeleted,
  kSwappedFile,  ///< exchanged with the file of the same name in another folder
};
constexpr int kDamageKinds = static_cast<int>(DamageKind::kSwappedFile) + 1;

/// What was done to a folder.
struct Damage {
  DamageKind kind;
  std::string file;  ///< its name in the folder
  std::string what;  ///< for a message: kind, place, values
};

/// A file that may be damaged, and where.
struct Target {
  std::string file;  ///< its name in the folder
  size_t limit = 0;  ///< only the first so many bytes are changed; 0 = all
};

/// Random damage to one file of a folder, the same for the same seed and the same files. The JSON kinds are for *.json
/// and the headers of *.safetensors (whose length field is kept in step), the others for every file. The file's bytes
/// are different afterwards, without exception.
class Corruption {
 public:
  explicit Corruption(uint64_t seed) : random_(seed) {}

  /// @param targets what to choose from. @param other a folder with files of the same names, "" = none is exchanged.
  Damage apply(const std::string& folder, const std::vector<Target>& targets, const std::string& other = "");

 private:
  size_t below(size_t limit) { return static_cast<size_t>(random_.next() % limit); }
  /// These three: false where the kind does not fit the file or the place, which is then as it was.
  bool damage_file(const std::string& path, size_t limit, const std::string& other, Damage* damage);
  bool change(DamageKind kind, const std::string& file, size_t limit, std::string* bytes, std::string* what);
  bool change_bytes(DamageKind kind, size_t limit, std::string* bytes, std::string* what);
  bool change_json(DamageKind kind, std::string* text, std::string* what);

  SplitMix64 random_;
};

const char* damage_name(DamageKind kind);

}  // namespace pocketlora
