// Words and spelling that the printer and the parser of the text form share.
#pragma once

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"

#include <string>

namespace onnxopt::text {

inline bool isIdentifier(llvm::StringRef s) {
  if (s.empty() || !(llvm::isAlpha(s[0]) || s[0] == '_'))
    return false;
  for (char c : s)
    if (!llvm::isAlnum(c) && c != '_')
      return false;
  return true;
}

/// Length of the UTF-8 sequence at the start of `s`; 0 where there is none.
inline unsigned utf8Length(llvm::StringRef s) {
  auto b = static_cast<unsigned char>(s[0]);
  unsigned n = b < 0x80 ? 1 : b >= 0xc2 && b < 0xe0 ? 2 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xf0 && b < 0xf5 ? 4 : 0;
  if (n > s.size())
    return 0;
  for (unsigned i = 1; i < n; ++i)
    if ((static_cast<unsigned char>(s[i]) & 0xc0) != 0x80)
      return 0;
  return n;
}

/// Quotes as the official syntax does; bytes that are no text become \xNN, which is ours.
inline std::string quote(llvm::StringRef s) {
  std::string out = "\"";
  while (!s.empty()) {
    unsigned n = utf8Length(s);
    if (n == 0 || s[0] == 0) {
      out += "\\x";
      out += llvm::hexdigit(static_cast<unsigned char>(s[0]) >> 4, true);
      out += llvm::hexdigit(s[0] & 15, true);
      s = s.drop_front();
      continue;
    }
    if (s[0] == '\\' || s[0] == '"')
      out += '\\';
    out.append(s.data(), n);
    s = s.drop_front(n);
  }
  return out + "\"";
}

} // namespace onnxopt::text
