#include "common/corruption_test_support.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "common/test_support.h"

namespace pocketlora {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLengthBytes = 8;  // of a safetensors file: how long the header after it is
constexpr size_t kPage = 4096;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// A token of a JSON text: [begin, end), strings and keys with their quotes.
struct Token {
  enum class Kind { kNumber, kString, kKey, kOther } kind;
  size_t begin, end;
};

/// The tokens of a valid JSON text.
std::vector<Token> tokens_of(const std::string& text) {
  std::vector<Token> tokens;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at++;
    const char c = text[begin];
    if (std::isspace(static_cast<unsigned char>(c)) != 0) continue;
    Token::Kind kind = Token::Kind::kOther;
    if (c == '"') {
      for (; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\' ? 1 : 0;
      const size_t next = text.find_first_not_of(" \t\r\n", ++at);
      kind = next != std::string::npos && text[next] == ':' ? Token::Kind::kKey : Token::Kind::kString;
    } else if (c == '-' || std::isdigit(static_cast<unsigned char>(c)) != 0) {
      at = std::min(text.find_first_not_of("0123456789+-.eE", at), text.size());
      kind = Token::Kind::kNumber;
    } else if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      while (at < text.size() && std::isalpha(static_cast<unsigned char>(text[at])) != 0) ++at;
    }
    tokens.push_back({kind, begin, std::min(at, text.size())});
  }
  return tokens;
}

bool is_json_kind(DamageKind kind) {
  return kind == DamageKind::kNumber || kind == DamageKind::kHugeNumber || kind == DamageKind::kString ||
         kind == DamageKind::kKey || kind == DamageKind::kDuplicateKey || kind == DamageKind::kSpace;
}

/// The end of the value that starts at `tokens[index]`.
size_t end_of_value(const std::string& text, const std::vector<Token>& tokens, size_t index) {
  int depth = 0;
  for (size_t i = index; i < tokens.size(); ++i) {
    const char c = text[tokens[i].begin];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (depth == 0) return tokens[i].end;
  }
  return text.size();
}

void put_length(uint64_t length, std::string* bytes) {
  for (size_t i = 0; i < kLengthBytes; ++i) (*bytes)[i] = static_cast<char>(length >> (8 * i));
}

uint64_t length_of(const std::string& bytes) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return length;
}

}  // namespace

const char* damage_name(DamageKind kind) {
  static const char* const kNames[kDamageKinds] = {
      "flipped bit", "truncated", "swapped bytes", "inserted bytes", "removed bytes", "zeroed page", "number",
      "huge number", "string",    "key",           "duplicate key",  "space",         "deleted",     "swapped file"};
  return kNames[static_cast<int>(kind)];
}

Damage Corruption::apply(const std::string& folder, const std::vector<Target>& targets, const std::string& other) {
  constexpr int kTries = 200;  // a kind may fit few of the targets, and few places in them
  while (true) {
    const auto kind = static_cast<DamageKind>(below(kDamageKinds));
    for (int i = 0; i < kTries; ++i) {
      const Target& target = targets[below(targets.size())];
      Damage damage{kind, target.file, damage_name(kind)};
      if (damage_file(folder + "/" + target.file, target.limit, other, &damage)) return damage;
    }
  }
}

bool Corruption::damage_file(const std::string& path, size_t limit, const std::string& other, Damage* damage) {
  if (damage->kind == DamageKind::kDeleted) return fs::remove(path);
  std::string bytes = read_text_file(path);
  if (damage->kind == DamageKind::kSwappedFile) {
    const std::string partner = other + "/" + damage->file;
    if (other.empty() || !fs::exists(partner) || read_text_file(partner) == bytes) return false;
    fs::rename(path, path + ".swap");
    fs::rename(partner, path);
    fs::rename(path + ".swap", partner);
    return true;
  }
  const std::string before = bytes;
  limit = limit == 0 ? bytes.size() : std::min(limit, bytes.size());
  if (!change(damage->kind, damage->file, limit, &bytes, &damage->what) || bytes == before) return false;
  write_text_file(path, bytes);
  return true;
}

bool Corruption::change(DamageKind kind, const std::string& file, size_t limit, std::string* bytes, std::string* what) {
  if (!is_json_kind(kind)) return change_bytes(kind, limit, bytes, what);
  if (ends_with(file, ".json")) return change_json(kind, bytes, what);
  if (!ends_with(file, ".safetensors") || bytes->size() < kLengthBytes) return false;
  if (kind == DamageKind::kHugeNumber && below(4) == 0) {
    put_length(random_.next() | (uint64_t{1} << 40), bytes);
    *what += " as the header's length";
    return true;
  }
  const auto length = static_cast<size_t>(length_of(*bytes));
  std::string header = bytes->substr(kLengthBytes, length);
  if (!change_json(kind, &header, what)) return false;
  bytes->replace(kLengthBytes, length, header);
  put_length(header.size(), bytes);
  return true;
}

bool Corruption::change_bytes(DamageKind kind, size_t limit, std::string* bytes, std::string* what) {
  if (limit == 0) return false;
  const size_t at = below(limit);
  size_t count = 1;
  switch (kind) {
    case DamageKind::kFlippedBit:
      (*bytes)[at] = static_cast<char>((*bytes)[at] ^ static_cast<char>(1U << below(8)));
      break;
    case DamageKind::kTruncated:
      bytes->resize(at);
      break;
    case DamageKind::kSwappedBytes:
      std::swap((*bytes)[at], (*bytes)[count = below(limit)]);
      break;
    case DamageKind::kInsertedBytes: {
      std::string inserted(count = 1 + below(16), ' ');
      for (char& c : inserted) c = static_cast<char>(random_.next());
      bytes->insert(at, inserted);
      break;
    }
    case DamageKind::kRemovedBytes:
      bytes->erase(at, count = 1 + below(16));
      break;
    default:
      count = std::min(kPage, limit - at);
      std::fill_n(bytes->begin() + static_cast<std::ptrdiff_t>(at), count, '\0');
  }
  *what += " at " + std::to_string(at) + " (" + std::to_string(count) + ")";
  return true;
}

bool Corruption::change_json(DamageKind kind, std::string* text, std::string* what) {
  const std::vector<Token> tokens = tokens_of(*text);
  if (tokens.empty()) return false;
  const size_t index = below(tokens.size());
  const Token& token = tokens[index];
  const std::string old = text->substr(token.begin, token.end - token.begin);
  std::string fresh = old;
  if (kind == DamageKind::kSpace) {
    fresh = std::string(1 + below(3), " \t\n"[below(3)]) + old;
  } else if (kind == DamageKind::kNumber && token.kind == Token::Kind::kNumber) {
    static const char* const kSuffixes[] = {"0", ".5", "e3", "1"};
    fresh = below(4) == 0 ? "-" + old : below(4) == 0 ? std::to_string(below(100)) : old + kSuffixes[below(4)];
  } else if (kind == DamageKind::kHugeNumber && token.kind == Token::Kind::kNumber) {
    static const char* const kHuge[] = {
        "4611686018427387904", "9223372036854775807", "18446744073709551615", "-9223372036854775808", "1e308", "1e999"};
    fresh = kHuge[below(6)];
  } else if ((kind == DamageKind::kString && token.kind == Token::Kind::kString) ||
             (kind == DamageKind::kKey && token.kind == Token::Kind::kKey)) {
    const size_t at = 1 + below(old.size() - 1);
    fresh = below(2) == 0 || at + 1 == old.size() ? old.substr(0, at) + "x" + old.substr(at) : old;
    if (fresh == old) fresh[at] = static_cast<char>('a' + below(26));
  } else if (kind == DamageKind::kDuplicateKey && token.kind == Token::Kind::kKey) {
    const size_t end = end_of_value(*text, tokens, index + 2);
    fresh = text->substr(token.begin, end - token.begin) + ", " + old;
  } else {
    return false;
  }
  text->replace(token.begin, token.end - token.begin, fresh);
  *what += " at " + std::to_string(token.begin) + ": " + old.substr(0, 60) + " -> " + fresh.substr(0, 60);
  return true;
}

}  // namespace pocketlora
