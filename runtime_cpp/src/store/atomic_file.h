#pragma once

#include <string>
#include <vector>

#include "common/result.h"
#include "common/span.h"

namespace pocketlora {

/// Writes a file under a temporary name beside the final one. Nothing is seen under the final name until commit(),
/// which makes the data durable first (fsync) and then renames. Dropped without commit(), it removes the temporary
/// file. Failures are PL_IO_WRITE, or PL_DISK_FULL when the disk, a quota or a size limit is exhausted.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  Status write(ByteSpan bytes);
  Status write(const std::string& text);
  Status commit();
  const std::string& temporary_path() const { return temporary_; }

 private:
  AtomicFile(std::string path, std::string temporary, int descriptor)
      : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

/// Writes a folder of files as one thing. The target may be a symbolic link to a folder. Files are written (with
/// AtomicFile) into a temporary folder beside the target; commit() then
///  - renames the folder when the target does not exist or is an empty folder: one atomic step;
///  - exchanges the two folders when every file in the target is about to be replaced or retired: one atomic step where
///  the file system has it;
///  - else (the target holds other files, which are kept) moves the files over one by one in the order of add(): each
///  is
///    replaced atomically, and the last one added is the last one replaced.
/// Where a folder beside an existing target cannot be made or renamed into it (no right to write there, the target is a
/// mount point) and where the target is the working folder, the temporary folder lies within the target and the files
/// are moved one by one. create() finds that out, so that a long computation does not end in a failing commit().
/// Dropped without commit(), it removes the temporary folder.
class AtomicDirectory {
 public:
  static Result<AtomicDirectory> create(const std::string& path);

  AtomicDirectory(AtomicDirectory&& other) noexcept;
  AtomicDirectory& operator=(AtomicDirectory&&) = delete;
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  ~AtomicDirectory();

  /// Announces a file. @return the path to write it to.
  std::string add(const std::string& name);
  /// A file of the old version that the new one does not have: it goes when the others are replaced.
  void retire(const std::string& name) { retired_.push_back(name); }
  /// The announced files, in order.
  const std::vector<std::string>& names() const { return names_; }
  /// Where an announced file is until commit().
  std::string path_of(const std::string& name) const { return temporary_ + "/" + name; }
  Status commit();

 private:
  AtomicDirectory(std::string path, std::string temporary, bool within)
      : path_(std::move(path)), temporary_(std::move(temporary)), within_(within) {}
  static Result<AtomicDirectory> create_within(const std::string& target);
  Status move_folder();
  Status move_files() const;
  bool target_holds_other_files() const;
  bool exchange() const;

  std::string path_;
  std::string temporary_;
  std::vector<std::string> names_, retired_;
  bool within_;  ///< the temporary folder lies in the target
};

/// A whole text as a file, atomically.
Status write_whole_file(const std::string& path, const std::string& text);

/// Creates `path`'s missing parent folders. @return PL_IO_WRITE / PL_DISK_FULL on failure.
Status make_parent_directories(const std::string& path);

}  // namespace pocketlora
