// What models of one job share: interned names and dims, limits, diagnostics. Used by one thread at a time.
#pragma once

#include "onnxopt/ir/Dim.h"

#include "llvm/ADT/StringSet.h"

#include <string>
#include <vector>

namespace onnxopt {

enum class Severity : uint8_t { Error, Warning, Lint, Remark };

/// One finding. `code` is stable ("ONNX-SSA-001"); `path` says where, `main/Loop "l0"/body/Conv "c1"`.
struct Diagnostic {
  Severity severity = Severity::Error;
  std::string code, path, message;
};

struct Limits {
  uint64_t memoryBytes = uint64_t(8) << 30; ///< one run of the executor
  uint64_t foldBytes = uint64_t(1) << 20;   ///< result of one folded node
  uint64_t nodes = 1 << 20;                 ///< nodes that inlining and unrolling may add
  uint64_t steps = uint64_t(1) << 24;       ///< node executions of one run
  unsigned depth = 96;                      ///< nested messages, graphs and types
};

class Context {
public:
  /// Extra state that a library above keeps with the context (the operator registry).
  struct Extension {
    virtual ~Extension() = default;
  };

  llvm::StringRef intern(llvm::StringRef text) { return names_.insert(text).first->first(); }
  DimContext &dims() { return dims_; }
  std::vector<Diagnostic> &diagnostics() { return diagnostics_; }
  void diagnose(Diagnostic d) { diagnostics_.push_back(std::move(d)); }
  Limits limits;
  int64_t smallestInputDim = 1; ///< 0 under --allow-empty
  std::unique_ptr<Extension> operators;

private:
  llvm::StringSet<> names_;
  DimContext dims_;
  std::vector<Diagnostic> diagnostics_;
};

/// "error: ONNX-SSA-001: main/...: message"
std::string toString(const Diagnostic &d);

} // namespace onnxopt
