// Operator definitions: everything the library knows of an operator, and the registry of them.
#pragma once

#include "onnxopt/ir/Graph.h"
#include "onnxopt/ops/Datum.h"
#include "onnxopt/ops/schema/Schema.h"

#include <map>

namespace onnxopt {

/// A node with its schema: attributes read with their defaults.
class NodeView {
public:
  explicit NodeView(const Node &node);
  const Node &node() const { return node_; }
  schema::Schema schema() const { return schema_; }
  /// Version of the operator in force (its since_version); the opset's where no schema knows it.
  int64_t version() const { return version_; }
  bool hasAttribute(llvm::StringRef name) const { return find(name) != nullptr; }
  int64_t getInt(llvm::StringRef name, int64_t otherwise = 0) const;
  float getFloat(llvm::StringRef name, float otherwise = 0) const;
  std::string getString(llvm::StringRef name, llvm::StringRef otherwise = "") const;
  /// Empty when absent; tell the cases apart with hasAttribute.
  std::vector<int64_t> getInts(llvm::StringRef name) const;
  std::vector<float> getFloats(llvm::StringRef name) const;
  std::vector<std::string> getStrings(llvm::StringRef name) const;
  std::shared_ptr<const TensorData> getTensor(llvm::StringRef name) const;
  Graph *getGraph(llvm::StringRef name) const;

protected:
  const Attribute *find(llvm::StringRef name) const;
  const Node &node_;
  schema::Schema schema_;
  int64_t version_;
};

/// What a type, shape and value rule sees. Facts that are unknown are absent; a rule never guesses.
class InferContext : public NodeView {
public:
  InferContext(const Node &node, Context &context) : NodeView(node), context_(context) {}
  virtual ~InferContext() = default;

  unsigned numOperands() const { return node_.numOperands(); }
  bool hasOperand(unsigned i) const { return node_.operand(i) != nullptr; }
  /// Type::Unknown where nothing is known.
  virtual const Type &type(unsigned i) const = 0;
  /// Integers of operand `i`, possibly symbolic; null when not tracked.
  virtual const SymTensor *value(unsigned i) const = 0;
  /// Elements of operand `i` when it is a constant small enough to look at.
  virtual std::optional<Tensor> constant(unsigned i) const = 0;
  /// Types (and integers) of a body's outputs for given ones of its inputs. False when the body cannot be inferred.
  struct Fact {
    Type type;
    std::optional<SymTensor> value;
  };
  virtual bool inferRegion(Graph &body, llvm::ArrayRef<Fact> inputs, llvm::SmallVectorImpl<Fact> &outputs) = 0;

  bool isRanked(unsigned i) const { return type(i).isTensor() && type(i).ranked; }
  llvm::ArrayRef<Dim> shape(unsigned i) const { return type(i).dims; }
  size_t rank(unsigned i) const { return type(i).dims.size(); }
  ElementType element(unsigned i) const { return type(i).element; }
  DimContext &dims() const { return context_.dims(); }
  Context &context() const { return context_; }
  Dim constantDim(int64_t v) const { return context_.dims().constant(v); }
  /// A size that depends on run-time data.
  Dim freshDim(DimRange range = {0, INT64_MAX});

  unsigned numResults() const { return node_.numResults(); }
  void setType(unsigned i, Type t) {
    if (i < results.size())
      results[i].type = std::move(t);
  }
  void setTensor(unsigned i, ElementType e, llvm::ArrayRef<Dim> d) { setType(i, Type::tensor(e, d)); }
  void setUnranked(unsigned i, ElementType e) { setType(i, Type::tensor(e)); }
  void setValue(unsigned i, SymTensor v) {
    if (i < results.size())
      results[i].value = std::move(v);
  }
  /// Two dims that the operator requires to be equal; gives the more telling one. Reports a contradiction.
  Dim requireEqual(Dim a, Dim b, llvm::StringRef what);
  /// A contradiction of the model with the operator's definition. The first one counts.
  void fail(std::string what) {
    if (error.empty())
      error = std::move(what);
  }

  llvm::SmallVector<Fact, 2> results;
  std::string error;
  unsigned freshCount = 0;

private:
  Context &context_;
};

/// What a kernel sees. Operands are read only; results are new tensors.
class EvalContext : public NodeView {
public:
  explicit EvalContext(const Node &node) : NodeView(node) {}
  virtual ~EvalContext() = default;
  unsigned numOperands() const { return operands.size(); }
  bool has(unsigned i) const { return i < operands.size() && operands[i] && operands[i]->kind != Datum::None; }
  /// Whether the operand is given at all (an empty optional is).
  bool isGiven(unsigned i) const { return i < operands.size() && operands[i]; }
  const Tensor &in(unsigned i) const { return operands[i]->tensor; }
  const Datum &datum(unsigned i) const { return *operands[i]; }
  unsigned numResults() const { return results.size(); }
  bool wants(unsigned i) const { return i < results.size() && wanted[i]; }
  /// A zeroed tensor within the run's memory limit.
  absl::StatusOr<Tensor> allocate(ElementType type, llvm::ArrayRef<int64_t> dims);
  /// Memory for result `result`: that of a donor of this type and these dims, else a zeroed tensor. For kernels that
  /// write each element after the operands' elements at that place were read for the last time.
  absl::StatusOr<Tensor> allocateResult(unsigned result, ElementType type, llvm::ArrayRef<int64_t> dims);
  void set(unsigned i, Datum d) {
    if (i < results.size())
      results[i] = std::move(d);
  }
  /// Runs a body. Captured values are found by the executor.
  virtual absl::Status runRegion(Graph &body, std::vector<Datum> inputs, std::vector<Datum> &outputs) = 0;
  /// What inference proves of result `i`, with constant sizes where this run's inputs tell them.
  virtual Type provedType(unsigned i) = 0;
  /// Number of the random stream of this node's first result.
  virtual uint64_t randomSeed() const = 0;
  virtual uint64_t memoryLimit() const { return uint64_t(8) << 30; }
  /// Counts work of loops; an error when the run's budget is used up.
  virtual absl::Status step(uint64_t count = 1) = 0;

  llvm::SmallVector<const Datum *, 6> operands; ///< null where absent
  llvm::SmallVector<Datum, 2> results;
  llvm::SmallVector<bool, 4> wanted;
  /// An operand that dies here: its memory may go to a result, unless someone else holds it too.
  struct Donor {
    unsigned result;
    Tensor *operand;
  };
  llvm::SmallVector<Donor, 2> donors;
};

using InferFn = void (*)(InferContext &);
using EvalFn = absl::Status (*)(EvalContext &);

/// Result `result` may share memory with operand `operand`: as the same bytes (View), or written over it.
struct Reuse {
  enum Kind : uint8_t { View, Overwrite };
  unsigned result, operand;
  Kind kind;
};

/// How a kernel meets types that are only storage (small floats, types below 8 bits).
enum class Storage : uint8_t {
  Compute,  ///< small floats are widened to float32 and results narrowed again
  Movement, ///< elements are moved, never computed with: sub-byte ones are unpacked to bytes
  Native,   ///< the kernel reads and writes every type itself
};

struct OpFacts {
  InferFn infer = nullptr;
  EvalFn eval = nullptr;
  bool pure = true;          ///< no effect but its results
  bool deterministic = true; ///< equal operands give equal results
  bool total = false;        ///< cannot fail on well-typed operands: may be speculated
  bool elementwise = false;  ///< result element depends on the operands' elements at that place (after broadcasting)
  bool commutative = false;  ///< first two operands may change places
  bool idempotent = false;   ///< f(f(x)) = f(x)
  bool foldable = true;      ///< constants may be computed ahead (not where the operator says how data is stored)
  Storage storage = Storage::Compute;
  std::vector<Reuse> reuse = {};
  std::vector<unsigned> single = {};                   ///< operands that hold one element: a size, an axis, a limit
  std::vector<std::pair<unsigned, size_t>> ranks = {}; ///< operands of one rank only, with that rank
};

/// The number or string that a schema gives an attribute by default; nullopt where there is none, or it is a list.
std::optional<Attribute> defaultOf(const schema::AttributeSpec &spec);

class OpDefinition {
public:
  OpDefinition(std::string domain, std::string name) : domain(std::move(domain)), name(std::move(name)) {}
  /// Opens the block of versions from `version` on. It starts as a copy of the block before.
  OpDefinition &since(int version, OpFacts facts);
  /// Operands of the block opened last that hold exactly one element.
  OpDefinition &single(std::initializer_list<unsigned> operands) {
    blocks_.back().facts.single.assign(operands);
    return *this;
  }
  /// Operands of the block opened last that have one rank only, as (operand, rank).
  OpDefinition &ranks(std::initializer_list<std::pair<unsigned, size_t>> operands) {
    blocks_.back().facts.ranks.assign(operands);
    return *this;
  }
  const OpFacts *at(int64_t version) const;
  std::string domain, name;

private:
  struct Block {
    int since;
    OpFacts facts;
  };
  llvm::SmallVector<Block, 2> blocks_;
};

class OpRegistry : public Context::Extension {
public:
  /// All operators that this library defines.
  OpRegistry();
  OpDefinition &add(llvm::StringRef domain, llvm::StringRef name);
  const OpDefinition *find(llvm::StringRef domain, llvm::StringRef name) const;
  /// Facts in force for `node`; null when its operator or version is not defined, or when it calls a local function.
  const OpFacts *facts(const Node &node) const;
  void forEach(llvm::function_ref<void(const OpDefinition &)> visit) const;
  bool isAssumedPure(const Node &node) const;
  std::vector<std::string> assumedPure; ///< "domain" or "domain::op"

private:
  std::map<std::pair<std::string, std::string>, std::unique_ptr<OpDefinition>> definitions_;
};

/// The registry of a context; made on first use.
OpRegistry &operatorsOf(Context &context);
const OpFacts *factsOf(const Node &node);
/// No effects, no randomness: may be removed when unused, merged with an equal node.
bool isPure(const Node &node);
bool isDeterministic(const Node &node);

/// What is wrong with the sizes in the node's attributes, '' where each is less than 2^31 in magnitude, so that rules
/// and kernels can calculate with them.
std::string faultOfSizes(const Node &node);

/// The constant a value holds: of a Constant node in any of its forms or an initializer that is no mere default.
std::shared_ptr<const TensorData> constantOf(const Value *v);

/// Opset versions that the definitions were written for; a newer schema is not claimed by an older definition.
constexpr int kReviewedOpset = 28, kReviewedMlOpset = 5;

/// ONNXOPT_DEFINE_OP(Relu) { op.since(1, {...}); } - found by CMake's scan, called by the registry.
#define ONNXOPT_DEFINE_OP(name) void onnxoptDefine_##name(::onnxopt::OpDefinition &op)
#define ONNXOPT_DEFINE_MS_OP(name) void onnxoptDefineMs_##name(::onnxopt::OpDefinition &op)
#define ONNXOPT_DEFINE_TRAINING_OP(name) void onnxoptDefineTraining_##name(::onnxopt::OpDefinition &op)
#define ONNXOPT_DEFINE_PREVIEW_OP(name) void onnxoptDefinePreview_##name(::onnxopt::OpDefinition &op)
#define ONNXOPT_DEFINE_ML_OP(name) void onnxoptDefineMl_##name(::onnxopt::OpDefinition &op)

} // namespace onnxopt
