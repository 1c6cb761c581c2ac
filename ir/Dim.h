// Symbolic integers for shapes: canonical, hash-consed polynomials over symbols, floordiv, min, max and broadcast.
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

namespace onnxopt {

struct DimExpr;
struct DimAtom;
class DimContext;

/// A handle to an interned expression. Equal handles of one context are equal for all bindings; different handles may
/// be equal too, which proveEqual finds out. A null Dim carries no information at all.
class Dim {
public:
  Dim() = default;
  explicit Dim(const DimExpr *expr) : expr_(expr) {}
  explicit operator bool() const { return expr_ != nullptr; }
  bool operator==(const Dim &other) const = default;
  const DimExpr *expr() const { return expr_; }

  bool isConstant() const;
  bool isConstant(int64_t value) const { return isConstant() && constant() == value; }
  int64_t constant() const;
  std::optional<int64_t> maybeConstant() const { return isConstant() ? std::optional(constant()) : std::nullopt; }
  /// A single symbol, of a file or made up.
  bool isSymbol() const;
  /// The name of a symbol; empty for an anonymous one ('?' in a file).
  llvm::StringRef symbolName() const;
  /// Whether some symbol in it was made up by an analysis or is anonymous, so that a reader of the model cannot know
  /// it.
  bool hasGenerated() const;
  /// Whether some symbol stands for what only a run can tell: neither a size that the file names nor one of an input.
  bool dependsOnRun() const;

private:
  const DimExpr *expr_ = nullptr;
};

/// Closed range of the values an expression can take.
struct DimRange {
  int64_t lo = INT64_MIN, hi = INT64_MAX;
};

using DimBindings = std::unordered_map<std::string, int64_t>;

/// Owns all expressions. Arithmetic saturates to fresh symbols where int64 would overflow or an expression would grow
/// beyond `maxTerms` terms or `maxDepth` levels; so a result is never wrong, only less precise.
class DimContext {
public:
  DimContext();
  ~DimContext();
  DimContext(const DimContext &) = delete;

  static constexpr size_t maxTerms = 32;
  static constexpr unsigned maxDepth = 8;

  Dim constant(int64_t value);
  /// The symbol (scope, name); `lo` is the least value it can take. The first call for a symbol decides.
  Dim symbol(llvm::StringRef scope, llvm::StringRef name, int64_t lo = 1);
  /// A symbol of its own each time; `hint` names it, '' keeps it anonymous.
  Dim fresh(llvm::StringRef hint = "", DimRange range = {0, INT64_MAX});
  /// The size that input `input` leaves open along `axis`: one symbol of the tool's own each time it is asked for.
  Dim unknownOf(llvm::StringRef input, unsigned axis, DimRange range);

  Dim add(Dim a, Dim b);
  Dim sub(Dim a, Dim b);
  Dim mul(Dim a, Dim b);
  /// Rounds towards minus infinity. Division by 0 gives a fresh symbol.
  Dim floorDiv(Dim a, Dim b);
  Dim ceilDiv(Dim a, Dim b);
  Dim mod(Dim a, Dim b);
  Dim min(Dim a, Dim b);
  Dim max(Dim a, Dim b);
  /// ONNX multidirectional broadcasting of one dimension: b where a is 1, else a. Never picks a side without proof.
  Dim broadcast(Dim a, Dim b);
  /// a / b where it is known to divide without rest (the caller's fact); null when no quotient is found.
  std::optional<Dim> exactDiv(Dim a, Dim b);

  DimRange range(Dim d) const;
  /// Narrows a symbol's range (`--range`).
  void restrict(Dim symbol, DimRange range);
  bool proveEqual(Dim a, Dim b);
  bool proveLe(Dim a, Dim b);
  bool proveDifferent(Dim a, Dim b);

  /// Text in dim_param syntax: + - * // min(a,b) max(a,b); '?' for an anonymous symbol.
  std::string print(Dim d) const;
  /// Reads dim_param text. Text that is no expression becomes one opaque symbol of that name.
  Dim parse(llvm::StringRef scope, llvm::StringRef text, int64_t lo = 1);
  /// The value under `bindings` (by symbol name); nullopt where a symbol is unbound or a division by 0 occurs.
  std::optional<int64_t> evaluate(Dim d, const DimBindings &bindings) const;
  /// Replaces symbols; what the map does not name stays.
  Dim substitute(Dim d, const llvm::DenseMap<const DimExpr *, Dim> &map);
  /// Collects the symbols that occur in `d`.
  void symbols(Dim d, llvm::SmallVectorImpl<Dim> &out) const;

private:
  friend class Dim;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace onnxopt
