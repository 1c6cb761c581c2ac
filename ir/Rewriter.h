// The only way passes edit a model: keeps origins, tells listeners, counts changes.
#pragma once

#include "onnxopt/ir/Graph.h"

#include <functional>

namespace onnxopt {

/// Edits take effect at once; erased nodes are freed when the rewriter goes or at `flush`, so that worklists may hold
/// pointers to them until then (`isErased` tells).
class Rewriter {
public:
  explicit Rewriter(Context &context) : context_(context) {}
  ~Rewriter() { flush(); }

  /// A node before `before` (null: at the end of `graph`). Takes name, doc string and metadata from its origins: the
  /// first name and doc string, and every metadata entry whose key is not there yet.
  Node *create(Graph &graph, Node *before, llvm::StringRef op, llvm::StringRef domain, llvm::ArrayRef<Value *> operands,
               unsigned numResults, llvm::ArrayRef<Node *> origins);
  /// A constant as an initializer, or as a Constant node where the graph cannot hold initializers (function bodies, IR
  /// versions before 4).
  Value *createConstant(Graph &graph, Node *before, Tensor value, llvm::StringRef name);
  void replaceAllUses(Value *from, Value *to);
  void setOperand(Node *node, unsigned i, Value *value);
  void setOperands(Node *node, llvm::ArrayRef<Value *> values);
  void setAttribute(Node *node, Attribute attribute);
  void moveBefore(Node *node, Graph &graph, Node *before);
  /// The node's results must have no uses.
  void erase(Node *node);
  /// Replaces all results and erases the node.
  void replace(Node *node, llvm::ArrayRef<Value *> values);
  bool isErased(const Node *node) const { return erased_.count(node); }
  void flush();
  void markChanged() { ++changes_; }
  uint64_t changes() const { return changes_; }

  /// Called for a node whose operands changed, and for a new one.
  std::function<void(Node *)> onTouched;

private:
  Context &context_;
  uint64_t changes_ = 0;
  llvm::DenseMap<const Node *, Node *> erased_;
};

} // namespace onnxopt
