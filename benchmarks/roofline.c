/* The most that a machine does: fused multiply-adds of fp32 in registers, and bytes read from memory in order. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 256, LINE = 64 };

static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* sums[i] = sums[i] * a + b, `turns` times. The operands come from memory and every sum is said to change, so that
 * nothing folds. Enough sums for every unit to have one in each stage. */
#define EACH(count) _Pragma("GCC unroll 32") for (int i = 0; i < (count); ++i)
#define FMA_LOOP(name, bytes, chains, constraint, attributes)             \
  typedef float name##_vector __attribute__((vector_size(bytes)));        \
  __attribute__((noinline)) attributes static float name(int64_t turns) { \
    static const volatile float operands[2] = {0.999f, 0.001f};           \
    const float first = operands[0], second = operands[1];                \
    const name##_vector zero = {0}, a = zero + first, b = zero + second;  \
    name##_vector sums[chains];                                           \
    EACH(chains) sums[i] = zero + (float)i;                               \
    for (int64_t turn = 0; turn < turns; ++turn) {                        \
      EACH(chains) {                                                      \
        sums[i] = sums[i] * a + b;                                        \
        __asm__ volatile("" : constraint(sums[i]));                       \
      }                                                                   \
    }                                                                     \
    float total = 0;                                                      \
    EACH(chains) total += sums[i][0];                                     \
    return total;                                                         \
  }                                                                       \
  enum { name##_flops = 2 * (chains) * (bytes) / (int)sizeof(float) };

#if defined(__x86_64__)
FMA_LOOP(fma_avx2, 32, 12, "+x", __attribute__((target("avx2,fma"))))
FMA_LOOP(fma_avx512, 64, 24, "+v", __attribute__((target("avx512f,fma"))))
#else
FMA_LOOP(fma_native, 16, 24, "+w", )
#endif

typedef struct {
  int avx512;            /* which loop */
  double seconds;        /* how long they go on */
  const uint8_t* memory; /* what is read; NULL = multiply-adds */
  size_t bytes;
  size_t ahead; /* bytes that are asked for ahead of reading; 0 = left to the machine */
  double rate;  /* out: a second */
} job;

/* By the thread's own clock: a unit's peak does not depend on who else runs. */
static void* run_fma(void* pointer) {
  job* mine = pointer;
  const int64_t turns = 100000;
  static volatile float sink;
  double done = 0;
  const double begin = now(CLOCK_THREAD_CPUTIME_ID);
  double end = begin;
  while (end - begin < mine->seconds) {
#if defined(__x86_64__)
    sink = mine->avx512 ? fma_avx512(turns) : fma_avx2(turns);
    done += (double)turns * (mine->avx512 ? fma_avx512_flops : fma_avx2_flops);
#else
    sink = fma_native(turns);
    done += (double)turns * fma_native_flops;
#endif
    end = now(CLOCK_THREAD_CPUTIME_ID);
  }
  (void)sink;
  mine->rate = done / (end - begin);
  return NULL;
}

/* Two lines a turn, in as wide vectors as the target has. */
#define READ_LOOP(name, attributes)                                                  \
  __attribute__((noinline)) attributes static uint64_t name(const job* mine) {       \
    typedef uint64_t line __attribute__((vector_size(LINE), aligned(1), may_alias)); \
    line sum = {0}, other = {0};                                                     \
    for (size_t at = 0; at + 2 * LINE <= mine->bytes; at += 2 * LINE) {              \
      if (mine->ahead != 0) {                                                        \
        __builtin_prefetch(mine->memory + at + mine->ahead);                         \
        __builtin_prefetch(mine->memory + at + mine->ahead + LINE);                  \
      }                                                                              \
      sum ^= *(const line*)(mine->memory + at);                                      \
      other ^= *(const line*)(mine->memory + at + LINE);                             \
    }                                                                                \
    sum ^= other;                                                                    \
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];    \
  }
READ_LOOP(read_any, )
#if defined(__x86_64__)
READ_LOOP(read_avx512, __attribute__((target("avx512f"))))
#endif

static void* run_read(void* pointer) {
  job* mine = pointer;
  static volatile uint64_t sink;
  const double begin = now(CLOCK_MONOTONIC);
#if defined(__x86_64__)
  sink = mine->avx512 ? read_avx512(mine) : read_any(mine);
#else
  sink = read_any(mine);
#endif
  (void)sink;
  mine->rate = (double)mine->bytes / (now(CLOCK_MONOTONIC) - begin);
  return NULL;
}

/* Rates of all threads together; 0 when a thread could not be started. */
static double together(void* (*work)(void*), job* jobs, int threads) {
  pthread_t ids[MAX_THREADS];
  int started = 0;
  while (started < threads && pthread_create(&ids[started], NULL, work, &jobs[started]) == 0) ++started;
  double rate = 0;
  for (int i = 0; i < started; ++i) {
    pthread_join(ids[i], NULL);
    rate += jobs[i].rate;
  }
  return started == threads ? rate : 0;
}

/* FLOP/s of `threads` threads for about `seconds`; 0 on failure. */
double fma_rate(int avx512, int threads, double seconds) {
  job jobs[MAX_THREADS] = {{0}};
  if (threads < 1 || threads > MAX_THREADS) return 0;
  for (int i = 0; i < threads; ++i) jobs[i] = (job){.avx512 = avx512, .seconds = seconds};
  return together(run_fma, jobs, threads);
}

/* Bytes a second of one pass over `bytes` at `memory`, a piece for each thread; 0 on failure. */
double read_rate(const void* memory, size_t bytes, size_t ahead, int avx512, int threads) {
  job jobs[MAX_THREADS] = {{0}};
  if (threads < 1 || threads > MAX_THREADS) return 0;
  const size_t piece = bytes / (size_t)threads / LINE * LINE;
  for (int i = 0; i < threads; ++i) {
    jobs[i] = (job){.avx512 = avx512, .memory = (const uint8_t*)memory + i * piece, .bytes = piece, .ahead = ahead};
  }
  return together(run_read, jobs, threads);
}
