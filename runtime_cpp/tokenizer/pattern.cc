#include "pattern.h"

#include "utf8.h"

namespace pocketlora::tokenizer {

void append_kinds(const TokenizerData& data, std::string_view text, std::vector<uint8_t>* kinds) {
  kinds->reserve(kinds->size() + text.size());
  for (size_t at = 0; at < text.size();) {
    const uint32_t character = character_at(text, at);
    const size_t size = character_size(static_cast<uint8_t>(text[at]));
    kinds->push_back(data.kind_of(character));
    kinds->insert(kinds->end(), size - 1, kContinuation);
    at += size;
  }
}

size_t Matcher::match(uint32_t program, const uint8_t* kinds, size_t at, size_t end) {
  kinds_ = kinds;
  end_ = end;
  return run(program, at);
}

// Takes as many characters as it may. Where fewer would do as well, leaves a frame to come back to.
bool Matcher::repeat(const Instruction& in, uint32_t next, size_t* at) {
  size_t low = *at;
  uint32_t count = 0;
  while (count < in.max && *at < end_ && in_set(in.set, *at)) {
    *at = after(*at);
    if (++count == in.min) low = *at;
  }
  if (count < in.min) return false;
  if (count > in.min && in.op == static_cast<uint32_t>(Op::kChars)) frames_.push_back({next, *at, low});
  return true;
}

bool Matcher::step_back(size_t base, uint32_t* instruction, size_t* at) {
  if (frames_.size() == base) return false;
  Frame& frame = frames_.back();
  if (frame.at > frame.low) frame.at = before(frame.at);
  *instruction = frame.instruction;
  *at = frame.at;
  if (frame.at <= frame.low) frames_.pop_back();
  return true;
}

// Recursion is for lookahead only and goes forward in the program, so its depth is bounded by the program.
// NOLINTNEXTLINE(misc-no-recursion)
size_t Matcher::run(uint32_t instruction, size_t at) {
  const size_t base = frames_.size();
  for (;;) {
    const Instruction& in = code_[instruction];
    bool goes_on = true;
    switch (static_cast<Op>(in.op)) {
      case Op::kAccept:
        frames_.resize(base);
        return at;
      case Op::kChars:
      case Op::kCharsPossessive:
        goes_on = repeat(in, ++instruction, &at);
        break;
      case Op::kSplit:
        if (at < end_ ? in_set(in.set, at) : in.min != 0) {
          frames_.push_back({in.target, at, at});
          ++instruction;
        } else {
          instruction = in.target;
        }
        break;
      case Op::kJump:
        instruction = in.target;
        break;
      default:
        goes_on = (run(instruction + 1, at) != kNoMatch) == (in.op == static_cast<uint32_t>(Op::kLook));
        instruction = in.target;
    }
    if (!goes_on && !step_back(base, &instruction, &at)) return kNoMatch;
  }
}

}  // namespace pocketlora::tokenizer
