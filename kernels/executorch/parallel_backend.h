#pragma once

namespace pocketlora {

/**
 * Lets the kernels run on ExecuTorch's thread pool. Results do not depend on it. Not to be called while a kernel runs.
 *
 * @param[in] num_threads threads to use at most, the caller included; 0 = all of the pool's, 1 = no pool
 * @return how many threads may run parts of a kernel: 1, or as many as the pool has, since any of them may take a part
 */
int use_executorch_threadpool(int num_threads);

}  // namespace pocketlora
