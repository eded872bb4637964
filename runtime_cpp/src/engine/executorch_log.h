#pragma once

#include <string>

namespace pocketlora {

/// While one exists on a thread, what ExecuTorch logs there is kept instead of printed: the reason of a failure belongs
/// into the error message, and its notices are of no use to the user of an app. Other threads and other users of
/// ExecuTorch print as before.
class ExecutorchLog {
 public:
  ExecutorchLog();
  ~ExecutorchLog();
  ExecutorchLog(const ExecutorchLog&) = delete;
  ExecutorchLog& operator=(const ExecutorchLog&) = delete;

  /// The errors logged on this thread since the object was made, "; " between them, at most a few.
  const std::string& errors() const;
};

}  // namespace pocketlora
