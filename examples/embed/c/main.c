/* Trains an adapter on rows of token ids, saves it, loads it, and generates with and without it:
 *   embed_c BUNDLE ROWS ADAPTER     ROWS: a row a line, token ids between spaces; ADAPTER: the folder to write
 *
 * One JSON line on stdout; errors on stderr, with the exit codes of docs/errors.md. */
#include <errno.h>
#include <inttypes.h>
#include <pocketlora/pocketlora.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TOKENS = 4096, MAX_ROWS = 64, STEPS = 20, PROMPT = 4, NEW_TOKENS = 12 };

/* All rows one after the other: segments[i] is where row i begins, segments[num_rows] the number of tokens. */
typedef struct rows {
  int64_t tokens[MAX_TOKENS], segments[MAX_ROWS + 1];
  size_t num_rows;
} rows;

typedef struct generated {
  int64_t tokens[NEW_TOKENS];
  size_t n;
} generated;

static pl_status read_rows(const char* path, rows* out) {
  long long id = 0;
  char after = '\n';
  size_t n = 0;
  int got = 0; /* of id and after: both, or the end of the file */
  FILE* file = fopen(path, "r");
  if (file == NULL) return fprintf(stderr, "error: %s: %s\n", path, strerror(errno)), PL_INPUT_MISSING;
  while (n < MAX_TOKENS && out->num_rows < MAX_ROWS && (got = fscanf(file, "%lld%c", &id, &after)) > 0) {
    if (after != ' ' && after != '\n') break;
    out->tokens[n++] = id;
    if (after == '\n') out->segments[++out->num_rows] = (int64_t)n;
  }
  fclose(file);
  if (got == EOF && after == '\n' && n >= PROMPT) return PL_OK;
  fprintf(stderr, "error: %s: row %zu: expected %d to %d ids in all\n", path, out->num_rows + 1, PROMPT, MAX_TOKENS);
  return PL_INPUT_MALFORMED;
}

/* Called for every new token; anything but 0 would stop. */
static int32_t keep_token(int64_t token, void* user) {
  generated* text = user;
  text->tokens[text->n++] = token;
  return 0;
}

/* A new text from the same prompt with n adapters, 0 = the bare base. Exchanging them loads nothing. */
static pl_status generate(pl_session* session, const pl_adapter_ref* adapters, size_t n, const rows* data,
                          generated* text) {
  pl_generate_options options;
  pl_generate_options_init(&options);
  options.max_new_tokens = NEW_TOKENS;
  pl_status status = pl_session_reset(session);
  if (status == PL_OK) status = pl_session_set_adapters(session, adapters, n);
  if (status != PL_OK) return status;
  return pl_session_generate(session, data->tokens, PROMPT, &options, keep_token, text, NULL);
}

static pl_status train(pl_engine* engine, const rows* data, const char* folder, double* first, double* last) {
  pl_trainer* trainer = NULL;
  pl_adapter* adapter = NULL;
  pl_trainer_options options;
  pl_trainer_options_init(&options);
  options.rank = 4;
  options.alpha = 8;
  options.learning_rate = 1e-2f;
  const size_t n = (size_t)data->segments[data->num_rows];
  const pl_batch batch = {sizeof(batch), data->tokens, data->tokens, data->segments, n, data->num_rows};
  pl_status status = pl_trainer_create(engine, &options, NULL, &trainer);
  for (int step = 0; status == PL_OK && step < STEPS; ++step) {
    pl_step_report report = {.struct_size = sizeof(report)};
    status = pl_trainer_step(trainer, &batch, 1, &report);
    *(step == 0 ? first : last) = report.loss;
  }
  if (status == PL_OK) status = pl_trainer_get_adapter(trainer, &adapter);
  if (status == PL_OK) status = pl_adapter_save(adapter, folder);
  pl_adapter_free(adapter);
  pl_trainer_free(trainer);
  return status;
}

static pl_status run(const char* bundle, const rows* data, const char* folder) {
  pl_engine* engine = NULL;
  pl_session* session = NULL;
  pl_adapter* adapter = NULL;
  double first = 0, last = 0;
  generated texts[3] = {{{0}, 0}, {{0}, 0}, {{0}, 0}};
  const char* const names[3] = {"base", "adapter", "base_again"};
  pl_status status = pl_engine_open(bundle, NULL, &engine);
  if (status == PL_OK) status = train(engine, data, folder, &first, &last);
  if (status == PL_OK) status = pl_adapter_load(engine, folder, &adapter);
  if (status == PL_OK) status = pl_session_create(engine, NULL, &session);
  const pl_adapter_ref set = {adapter, 1.0f};
  for (int i = 0; status == PL_OK && i < 3; ++i) status = generate(session, &set, i == 1, data, &texts[i]);
  if (status != PL_OK) fprintf(stderr, "error: %s: %s\n", pl_status_name(status), pl_last_error());
  if (status == PL_OK) {
    printf("{\"steps\": %d, \"first_loss\": %.17g, \"last_loss\": %.17g", STEPS, first, last);
    for (int i = 0; i < 3; ++i) {
      printf(", \"%s\": [", names[i]);
      for (size_t j = 0; j < texts[i].n; ++j) printf("%s%" PRId64, j == 0 ? "" : ", ", texts[i].tokens[j]);
      printf("]");
    }
    printf("}\n");
  }
  pl_session_free(session); /* handles may be released in any order, NULL is fine */
  pl_adapter_free(adapter);
  pl_engine_close(engine);
  return status;
}

int main(int argc, char** argv) {
  static rows data;
  if (argc != 4) return fprintf(stderr, "usage: embed_c BUNDLE ROWS ADAPTER\n"), 2;
  pl_status status = read_rows(argv[2], &data);
  if (status == PL_OK) status = run(argv[1], &data, argv[3]);
  return status == PL_OK ? 0 : status < 800 ? status / 100 + 1 : 1;
}
