#pragma once

#include <cstddef>
#include <cstdint>

namespace pocketlora {

/// Bytes that the scratch of all threads holds now.
int64_t scratch_bytes_in_use();
/// The largest value of scratch_bytes_in_use() since the start or the last scratch_reset_peak().
int64_t scratch_bytes_peak();
void scratch_reset_peak();
/// Gives the calling thread's scratch back to the system. Not inside a ScratchFrame.
void scratch_release();

/// Temporary memory of one kernel call: everything taken from a frame is given back when the frame ends. Frames of a
/// thread nest like its calls. The memory stays with the thread for the next call. It is uninitialized and aligned to
/// 64 bytes. When the system has no memory left, the process ends with a message.
class ScratchFrame {
 public:
  ScratchFrame();
  ~ScratchFrame();
  ScratchFrame(const ScratchFrame&) = delete;
  ScratchFrame& operator=(const ScratchFrame&) = delete;

  void* bytes(size_t count);
  float* floats(int64_t count) { return static_cast<float*>(bytes(static_cast<size_t>(count) * sizeof(float))); }
  double* doubles(int64_t count) { return static_cast<double*>(bytes(static_cast<size_t>(count) * sizeof(double))); }
  int64_t* ints(int64_t count) { return static_cast<int64_t*>(bytes(static_cast<size_t>(count) * sizeof(int64_t))); }

 private:
  size_t chunk_;
  size_t offset_;
  size_t live_;
};

}  // namespace pocketlora
