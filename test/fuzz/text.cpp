// Arbitrary text as a model: what parses prints, and what prints parses to the same text.
#include "onnxopt/ir/text/Parser.h"
#include "onnxopt/ir/text/Printer.h"

using namespace onnxopt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Context context;
  auto model = parseText(context, llvm::StringRef(reinterpret_cast<const char *>(data), size));
  if (!model.ok() || !(*model)->importErrors.empty())
    return 0;
  auto text = printText(**model);
  if (!text.ok())
    return 0;
  Context other;
  auto again = parseText(other, *text);
  if (!again.ok())
    __builtin_trap();
  auto printed = printText(**again);
  if (!printed.ok() || *printed != *text)
    __builtin_trap();
  return 0;
}
