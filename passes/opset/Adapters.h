// Where an operator's history breaks: what a node written for the version before becomes.
#pragma once

#include "onnxopt/passes/Pass.h"

namespace onnxopt {

/// Raises nodes of one opset to another. Nodes that adapters make are raised from the adapter's version on.
class OpsetRaiser {
public:
  OpsetRaiser(Rewriter &rewriter, Inference &inference, int64_t target)
      : rewriter_(rewriter), inference_(inference), target_(target) {}
  int64_t target() const { return target_; }

  /// Why `n`, valid at opset `from`, cannot be raised; '' if it can.
  std::string obstacle(const Node &n, int64_t from);
  /// Raises `n`, for which there is no obstacle.
  void raise(Node &n, int64_t from);

  // For adapters. `n` is the node on its way up.
  /// As proved; Unknown where nothing is.
  Type typeOf(const Value *v) const {
    const ValueFact *f = inference_.fact(v);
    return f ? f->type : Type();
  }
  std::optional<size_t> rankOf(const Value *v) const {
    const Type t = typeOf(v);
    return t.isTensor() && t.ranked ? std::optional(t.rank()) : std::nullopt;
  }
  Node *create(Node &n, llvm::StringRef op, llvm::ArrayRef<Value *> operands);
  Value *constant(Node &n, Tensor value, llvm::StringRef name) {
    return rewriter_.createConstant(*n.graph(), &n, std::move(value), name);
  }
  /// `type` is a floating one.
  Value *scalar(Node &n, float value, ElementType type, llvm::StringRef name);
  /// Operand `index` becomes `v`; what lies between is absent.
  void setOperand(Node &n, unsigned index, Value *v);
  void setAttribute(Node &n, Attribute a) { rewriter_.setAttribute(&n, std::move(a)); }
  void drop(Node &n, llvm::StringRef attribute);
  void replace(Node &n, Value *v);

private:
  void keepOldDefaults(Node &n, schema::Schema before, schema::Schema after);
  Rewriter &rewriter_;
  Inference &inference_;
  int64_t target_, step_ = 0;
  std::vector<std::pair<Node *, int64_t>> pending_; ///< made by adapters, valid at that version
};

struct OpsetAdapter {
  llvm::StringRef op;
  int64_t since;
  /// Attributes that it reads, separated by blanks. One that refers to an attribute of the function is an obstacle.
  llvm::StringRef reads;
  /// Why a node cannot take this step, '' if it can; null where all can.
  std::string (*obstacle)(const Node &n, OpsetRaiser &r);
  /// Edits the node into the form of version `since`, or replaces it. Null where nothing is to do.
  void (*apply)(Node &n, OpsetRaiser &r);
};

/// Null where the step only widens the operator: the schemas tell then what there is to do.
const OpsetAdapter *adapterFor(llvm::StringRef op, int64_t since);

} // namespace onnxopt
