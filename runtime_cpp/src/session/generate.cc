#include "session/generate.h"

#include <algorithm>
#include <chrono>

namespace pocketlora {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Status check_room(const Session& session, Span<const int64_t> prompt, const GenerateOptions& options) {
  if (options.max_new_tokens < 0) {
    return error(PL_INVALID_ARGUMENT, "max_new_tokens: expected 0 or more, found %lld",
                 static_cast<long long>(options.max_new_tokens));
  }
  const int64_t room = session.capacity() - session.length() - static_cast<int64_t>(prompt.size());
  if (room < std::min<int64_t>(options.max_new_tokens, 1)) {
    return error(PL_SEQUENCE_TOO_LONG,
                 "the session's context of %lld tokens holds %lld: a prompt of %zu leaves no room for a new token",
                 static_cast<long long>(session.capacity()), static_cast<long long>(session.length()), prompt.size());
  }
  return Status();
}

}  // namespace

Result<GenerateReport> generate(Session* session, Span<const int64_t> prompt, const GenerateOptions& options,
                                const TokenSink& sink) {
  PL_RETURN_IF_ERROR(check_room(*session, prompt, options));
  PL_ASSIGN_OR_RETURN(Sampler sampler, Sampler::create(options.sampling));
  const Session::Call call(session);
  GenerateReport report;
  report.prompt_tokens = static_cast<int64_t>(prompt.size());
  const Clock::time_point start = Clock::now();
  PL_RETURN_IF_ERROR(session->prefill(prompt));
  PL_ASSIGN_OR_RETURN(Span<const float> logits, session->logits());
  report.prefill_seconds = seconds_since(start);

  const Clock::time_point decode_start = Clock::now();
  while (report.new_tokens < options.max_new_tokens && session->length() < session->capacity()) {
    if (report.new_tokens > 0) {
      PL_ASSIGN_OR_RETURN(logits, session->logits());
    }
    PL_ASSIGN_OR_RETURN(const int64_t token, sampler.sample(logits, session->tokens()));
    PL_RETURN_IF_ERROR(session->append(Span<const int64_t>(&token, 1)));
    ++report.new_tokens;
    const bool stop = std::count(options.stop_tokens.begin(), options.stop_tokens.end(), token) > 0;
    const bool go_on = sink(token);
    if (stop || !go_on) {
      report.stop_reason = stop ? StopReason::kStopToken : StopReason::kCallback;
      break;
    }
  }
  report.decode_seconds = seconds_since(decode_start);
  return report;
}

}  // namespace pocketlora
