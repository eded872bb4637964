/* pocketlora_tokenizer.h is C: this file compiles as C99 and links with the tokenizer library alone. */
#include <pocketlora/pocketlora_tokenizer.h>
#include <stdio.h>
#include <string.h>

static int expect(int condition, const char* what) {
  if (!condition) fprintf(stderr, "failed: %s\n", what);
  return condition ? 0 : 1;
}

int main(void) {
  int failures = 0;
  pl_tokenizer* tokenizer = NULL;
  failures += expect(pl_tokenizer_abi_version() == PL_TOKENIZER_ABI_VERSION, "library and header have one ABI version");
  failures += expect(pl_tokenizer_open("/nonexistent", &tokenizer) == PL_BUNDLE_MISSING_FILE, "a missing file");
  failures += expect(strstr(pl_tokenizer_last_error(), "/nonexistent") != NULL, "the message names the file");
  failures += expect(tokenizer == NULL, "out is only written on success");
  pl_tokenizer_close(tokenizer);
  pl_text_stream_free(NULL);
  return failures;
}
