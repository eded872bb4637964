/* Trains or generates with a bundle in a process that holds nothing but the runtime, and prints the memory account as
 * JSON: when the process began, when the bundle was open, and at the end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pocketlora/pocketlora.h"

static void check(pl_status status) {
  if (status == PL_OK) return;
  fprintf(stderr, "%s: %s\n", pl_status_name(status), pl_last_error());
  exit(1);
}

/* A line of /proc/self/status, in bytes. */
static int64_t process(const char* key) {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  int64_t kilobytes = 0;
  while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0) sscanf(line + strlen(key), ": %" SCNd64, &kilobytes);
  }
  if (file != NULL) fclose(file);
  return kilobytes * 1024;
}

static void print_memory(const char* name, const pl_engine* engine) {
  pl_memory m = {0};
  m.struct_size = sizeof(m);
  check(pl_engine_get_memory(engine, &m));
  printf(", \"%s\": {", name);
#define PART(part) printf("\"" #part "\": %" PRId64 ", ", m.part)
  PART(arena);
  PART(block_inputs);
  PART(adapter);
  PART(gradients);
  PART(optimizer);
  PART(kv_cache);
  PART(scratch);
  PART(other);
  PART(unexplained);
  PART(base_resident);
  PART(base_private_dirty);
#undef PART
  printf("\"rss_anon\": %" PRId64 ", \"rss_file\": %" PRId64 "}", m.rss_anon, m.rss_file);
}

static int64_t next_token(uint64_t* state, int64_t vocabulary) {
  *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (int64_t)((*state >> 33) % (uint64_t)vocabulary);
}

/* Steps of one micro-batch: `batch` rows of `length` random tokens. The trainer stays: its memory is wanted. */
static void train(pl_engine* engine, int64_t vocabulary, char** argv) {
  const long length = atol(argv[4]), batch = atol(argv[5]), steps = atol(argv[8]);
  pl_trainer_options options;
  pl_trainer_options_init(&options);
  options.rank = (int32_t)atol(argv[6]);
  options.optimizer = strcmp(argv[7], "adamw") == 0 ? PL_ADAMW : PL_SGD;
  if (argv[9] != NULL)
    options.recompute = strcmp(argv[9], "selective") == 0 ? PL_RECOMPUTE_SELECTIVE : PL_RECOMPUTE_FULL;
#ifdef PROBE_ACTIVATIONS
  options.activations = PROBE_ACTIVATIONS;
#endif
  pl_trainer* trainer = NULL;
  check(pl_trainer_create(engine, &options, NULL, &trainer));
  int64_t* tokens = malloc((size_t)(length * batch) * sizeof(int64_t));
  int64_t* segments = malloc((size_t)(batch + 1) * sizeof(int64_t));
  uint64_t state = 1;
  for (long i = 0; i < length * batch; ++i) tokens[i] = next_token(&state, vocabulary);
  for (long i = 0; i <= batch; ++i) segments[i] = i * length;
  pl_batch view = {0};
  view.struct_size = sizeof(view);
  view.tokens = view.labels = tokens;
  view.segments = segments;
  view.num_tokens = (size_t)(length * batch);
  view.num_segments = (size_t)batch;
  for (long i = 0; i < steps; ++i) check(pl_trainer_step(trainer, &view, 1, NULL));
}

/* A prompt that leaves room for eight tokens, and those. */
static void generate(pl_engine* engine, int64_t vocabulary, char** argv) {
  const long context = atol(argv[4]);
  pl_session_options options;
  pl_session_options_init(&options);
  options.context_length = context;
#ifdef PROBE_CACHE
  options.cache_dtype = PROBE_CACHE;
#endif
  options.compute = PL_COMPUTE_FLOAT32; /* what is planned: integers of long prompts take less */
  pl_session* session = NULL;
  check(pl_session_create(engine, &options, &session));
  int64_t* tokens = malloc((size_t)context * sizeof(int64_t));
  float* logits = malloc((size_t)vocabulary * sizeof(float));
  uint64_t state = 1;
  for (long i = 0; i < context; ++i) tokens[i] = next_token(&state, vocabulary);
  check(pl_session_prefill(session, tokens, (size_t)(context - 8), NULL));
  for (long i = context - 8; i < context; ++i) check(pl_session_decode(session, tokens[i], logits));
  free(logits);
}

int main(int argc, char** argv) {
  const int trains = (argc == 9 || argc == 10) && strcmp(argv[1], "train") == 0;
  const int generates = argc == 5 && strcmp(argv[1], "generate") == 0;
  if (!trains && !generates) {
    fprintf(stderr, "usage: %s train BUNDLE THREADS LENGTH BATCH RANK adamw|sgd STEPS [full|selective]\n", argv[0]);
    fprintf(stderr, "       %s generate BUNDLE THREADS CONTEXT\n", argv[0]);
    return 2;
  }
  printf("{\"started\": {\"rss_anon\": %" PRId64 ", \"rss_file\": %" PRId64 "}", process("RssAnon"),
         process("RssFile"));
  pl_engine_options options;
  pl_engine_options_init(&options);
  options.num_threads = (int32_t)atoi(argv[3]);
  pl_engine* engine = NULL;
  check(pl_engine_open(argv[2], &options, &engine));
  pl_engine_info info = {0};
  info.struct_size = sizeof(info);
  check(pl_engine_get_info(engine, &info));
  print_memory("opened", engine);
  if (trains) {
    train(engine, info.vocab_size, argv);
  } else {
    generate(engine, info.vocab_size, argv);
  }
  print_memory("memory", engine);
  printf("}\n");
  return 0;
}
