#pragma once

#include <string>

#include "bundle/base_map.h"
#include "bundle/manifest.h"
#include "common/result.h"

namespace pocketlora {

struct BundleOptions {
  bool verify_base = false;  ///< hash base.ptd as well
};

/// A bundle's folder, opened and checked as docs/manifest.md "Opening" says (the methods are checked where programs are
/// loaded).
class Bundle {
 public:
  /// Errors: BUNDLE_MISSING_FILE, BUNDLE_CORRUPT (sizes, hashes, the base's header), BUNDLE_VERSION; all files that are
  /// wrong at once.
  static Result<Bundle> open(const std::string& dir, const BundleOptions& options);

  const std::string& dir() const { return dir_; }
  const Manifest& manifest() const { return manifest_; }
  const BaseMap& base() const { return base_; }
  std::string path(const std::string& relative) const { return dir_ + "/" + relative; }

 private:
  Bundle(std::string dir, Manifest manifest, BaseMap base)
      : dir_(std::move(dir)), manifest_(std::move(manifest)), base_(std::move(base)) {}

  std::string dir_;
  Manifest manifest_;
  BaseMap base_;
};

}  // namespace pocketlora
