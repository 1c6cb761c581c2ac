// Types, shapes and integers of every value of a model, inferred from the operators' rules.
#pragma once

#include "onnxopt/ops/Operator.h"

namespace onnxopt {

struct InferenceOptions {
  /// Constants of at most this many elements are looked at (and folded through kernels).
  int64_t maxConstantElements = 1024;
  /// Contradictions are collected as errors (verifier) or as warnings (optimizing).
  Severity contradiction = Severity::Warning;
  bool diagnose = true;
};

/// Inferred facts of one value.
struct ValueFact {
  Type type;
  std::optional<SymTensor> value; ///< integers, where they are tracked
  std::optional<Tensor> constant; ///< elements, where they are known and small
};

/// Infers a whole model at once. Facts hold until the model is edited; facts of function bodies exist per call only.
class Inference {
public:
  explicit Inference(Model &model, InferenceOptions options = {});
  ~Inference();
  void run();
  /// Null for values in function bodies and where nothing is known.
  const ValueFact *fact(const Value *v) const;
  /// False for a body in a branch of an If whose condition is known to take the other one.
  bool mayRun(const Graph &body) const;
  /// The inferred type, else the declared one of an input; Unknown otherwise.
  Type typeOf(const Value *v) const;
  llvm::ArrayRef<Diagnostic> diagnostics() const { return diagnostics_; }
  /// Infers the results of one node from the facts of its operands (for nodes that a pass has just made).
  void update(Node &node);

private:
  class Engine;
  friend class Engine;
  Model &model_;
  InferenceOptions options_;
  std::vector<Diagnostic> diagnostics_;
  std::unique_ptr<Engine> engine_;
};

/// The type of an operand or result name in `declared` refined by `inferred`: dims that one knows and the other not.
Type refine(DimContext &dims, const Type &inferred, const Type &declared, bool &contradicts);

/// What inference claims of a value that its datum disproves, '' if nothing is. `bindings` are the sizes of the run.
std::string contradiction(const ValueFact &fact, const Datum &datum, const DimContext &dims,
                          const DimBindings &bindings);

} // namespace onnxopt
