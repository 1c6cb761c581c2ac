// The names that export gives to values: hints made unique, names of inputs and outputs kept.
#pragma once

#include "onnxopt/ir/Graph.h"

#include "llvm/ADT/DenseSet.h"

namespace onnxopt {

/// Names for every value of a model, for as long as the model is not edited.
class Naming {
public:
  explicit Naming(const Model &model);
  /// '' for an absent operand and for a result that nothing reads and no file named.
  llvm::StringRef name(const Value *v) const {
    auto it = names_.find(v);
    return it == names_.end() ? v->name() : it->second;
  }
  /// The name of output `slot` of `graph`: the declared one of a main graph or function, else that of its value.
  llvm::StringRef outputName(const Graph &graph, unsigned slot) const;
  /// Faults that only an edit of the graph can mend (an output that needs an Identity).
  llvm::ArrayRef<std::string> problems() const { return problems_; }

private:
  struct Scope {
    const Scope *outer;
    llvm::DenseSet<const char *> used; ///< interned names, by address
    bool visible(llvm::StringRef name, bool outerToo) const;
    void add(llvm::StringRef name) { used.insert(name.data()); }
  };
  void visit(const Graph &g, const Scope *outer);
  void assign(const Value *v, Scope &scope, llvm::StringRef fallback);

  Context &context_;
  llvm::DenseMap<const Value *, llvm::StringRef> names_;
  llvm::DenseMap<llvm::StringRef, unsigned> counters_;
  std::vector<std::string> problems_;
};

} // namespace onnxopt
