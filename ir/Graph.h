// The graph IR: models, functions, graphs, nodes, values and their uses.
#pragma once

#include "onnxopt/ir/Attribute.h"
#include "onnxopt/ir/Context.h"

#include "llvm/ADT/ilist.h"
#include "llvm/ADT/ilist_node.h"
#include "llvm/ADT/iterator_range.h"

namespace onnxopt {

class Function;
class Graph;
class Model;
class Node;
class Value;

/// How a file spelled an object, where that differs from what export prints by default.
struct AsRead {
  std::string original;     ///< the serialized message
  uint64_t fingerprint = 0; ///< of the default form at import; while it is unchanged, export writes `original`
};

struct StringPair {
  std::string key, value;
  bool operator==(const StringPair &) const = default;
};
using Metadata = std::vector<StringPair>;

/// One operand slot, linked into the use list of the value it reads.
class Use {
public:
  Value *get() const { return value_; }
  Node *user() const { return user_; }
  unsigned index() const;
  void set(Value *value);
  Use *next() const { return next_; }

private:
  friend class Node;
  void link();
  void unlink();
  Value *value_ = nullptr;
  Node *user_ = nullptr;
  Use *next_ = nullptr, **back_ = nullptr;
};

/// A node's result, a graph's input, an initializer (also one that is an input too), or an undefined name of a file.
class Value {
public:
  enum Kind : uint8_t { Result, Input, Initializer, Undefined };

  Kind kind() const { return kind_; }
  llvm::StringRef name() const { return name_; }
  void setName(llvm::StringRef interned) { name_ = interned; }
  /// The node that computes it; null unless kind is Result.
  Node *producer() const { return producer_; }
  /// The graph whose scope it belongs to.
  Graph *graph() const { return graph_; }
  unsigned index() const { return index_; }

  bool hasUses() const { return firstUse_ != nullptr; }
  bool hasOneUse() const { return firstUse_ && !firstUse_->next(); }
  Use *firstUse() const { return firstUse_; }
  llvm::SmallVector<Use *, 4> uses() const;
  void replaceAllUsesWith(Value *other);

  /// What the file says; null when it says nothing. Export writes it.
  const Type *declaredType() const { return declared_.get(); }
  void setDeclaredType(Type type) { declared_ = std::make_unique<Type>(std::move(type)); }
  void dropDeclaredType() { declared_.reset(); }

  /// Elements of an initializer, of an input's default, else null. A Constant node is seen by constantOf (ops).
  const std::shared_ptr<const TensorData> &initializer() const { return initializer_; }
  void setInitializer(std::shared_ptr<const TensorData> t) { initializer_ = std::move(t); }

  /// Rarely present facts of the declaration.
  struct Extra {
    std::string doc;
    Metadata metadata;
    std::shared_ptr<const AsRead> asRead;
    std::shared_ptr<const SparseTensorData> sparseInitializer;
  };
  Extra &extra();
  const Extra *maybeExtra() const { return extra_.get(); }

  bool fromFile = false;         ///< keeps its name, '' too, even where an outer scope has the same one
  int32_t valueInfoIndex = -1;   ///< position in the file's value_info; -1: not there
  int32_t initializerIndex = -1; ///< position in the file's initializers or sparse initializers

private:
  friend class Graph;
  friend class Node;
  friend class Use;
  Kind kind_ = Result;
  unsigned index_ = 0;
  llvm::StringRef name_;
  Node *producer_ = nullptr;
  Graph *graph_ = nullptr;
  Use *firstUse_ = nullptr;
  std::unique_ptr<Type> declared_;
  std::shared_ptr<const TensorData> initializer_;
  std::unique_ptr<Extra> extra_;
};

/// An operator application, or the Return of a graph, whose operands are the graph's outputs.
class Node : public llvm::ilist_node<Node> {
public:
  ~Node();
  llvm::StringRef opType() const { return opType_; }
  llvm::StringRef domain() const { return domain_; } ///< "" for ai.onnx
  llvm::StringRef overload() const { return overload_; }
  llvm::StringRef name() const { return name_; }
  void setName(llvm::StringRef interned) { name_ = interned; }
  bool isReturn() const { return isReturn_; }
  bool is(llvm::StringRef op, llvm::StringRef domain = "") const { return opType_ == op && domain_ == domain; }
  Graph *graph() const { return graph_; }
  Model &model() const;

  unsigned numOperands() const { return numOperands_; }
  /// Null where an optional operand is absent or beyond the end.
  Value *operand(unsigned i) const { return i < numOperands_ ? uses_[i].get() : nullptr; }
  Use &use(unsigned i) { return uses_[i]; }
  llvm::MutableArrayRef<Use> uses() { return {uses_.get(), numOperands_}; }
  llvm::SmallVector<Value *, 4> operands() const;
  void setOperand(unsigned i, Value *value) { uses_[i].set(value); }
  void setOperands(llvm::ArrayRef<Value *> values);

  unsigned numResults() const { return results_.size(); }
  /// Results that a file leaves out ('') are values without a name and without uses.
  Value *result(unsigned i = 0) const { return results_[i].get(); }
  llvm::ArrayRef<std::unique_ptr<Value>> results() const { return results_; }
  void addResult();
  void dropLastResult() { results_.pop_back(); }
  bool resultsUnused() const;

  std::vector<Attribute> &attributes() { return attributes_; }
  llvm::ArrayRef<Attribute> attributes() const { return attributes_; }
  const Attribute *attribute(llvm::StringRef name) const;
  void setAttribute(Attribute attribute);
  void removeAttribute(llvm::StringRef name);
  /// All subgraphs of all attributes, in order.
  llvm::SmallVector<Graph *, 2> regions() const;
  /// The model-local function it calls, else null.
  Function *callee() const { return callee_; }
  void setCallee(Function *f) { callee_ = f; }

  struct Extra {
    std::string doc;
    Metadata metadata;
    std::shared_ptr<const AsRead> asRead;
    std::string leftover; ///< serialized NodeProto fields that passes do not look at (device configurations, unknown)
  };
  Extra &extra();
  const Extra *maybeExtra() const { return extra_.get(); }

private:
  friend class Graph;
  llvm::StringRef opType_, domain_, overload_, name_;
  Graph *graph_ = nullptr;
  Function *callee_ = nullptr;
  bool isReturn_ = false;
  unsigned numOperands_ = 0;
  std::unique_ptr<Use[]> uses_;
  std::vector<std::unique_ptr<Value>> results_;
  std::vector<Attribute> attributes_;
  std::unique_ptr<Extra> extra_;
};

/// The declaration of a graph output: its name is contract, whatever value it returns.
struct OutputSlot {
  llvm::StringRef name;
  std::unique_ptr<Type> type;
  std::string doc;
  Metadata metadata;
  std::shared_ptr<const AsRead> asRead;
};

/// A value_info entry that no value of the graph carries: an orphan, a duplicate. Kept as read.
struct LooseMessage {
  unsigned position;
  std::string bytes;
};

class Graph {
public:
  explicit Graph(Context &context);
  ~Graph();
  Context &context() const { return context_; }

  llvm::iplist<Node> &nodes() { return nodes_; }
  const llvm::iplist<Node> &nodes() const { return nodes_; }
  Node *returnNode() const { return return_.get(); }
  llvm::ArrayRef<std::unique_ptr<Value>> inputs() const { return inputs_; }
  llvm::ArrayRef<std::unique_ptr<Value>> initializers() const { return initializers_; }
  std::vector<OutputSlot> &outputs() { return outputs_; }
  llvm::ArrayRef<OutputSlot> outputs() const { return outputs_; }

  Value *addInput(llvm::StringRef name);
  Value *addInitializer(llvm::StringRef name, std::shared_ptr<const TensorData> tensor);
  Value *addUndefined(llvm::StringRef name);
  void addOutput(Value *value, llvm::StringRef name);
  void eraseInput(unsigned index);
  /// Erases initializers without uses that are not also inputs. Returns how many.
  unsigned eraseUnusedInitializers();
  /// Builds a node before `before` (null: at the end). Not yet seen by listeners: passes use a Rewriter.
  Node *createNode(llvm::StringRef op, llvm::StringRef domain, llvm::ArrayRef<Value *> operands, unsigned numResults,
                   Node *before = nullptr, llvm::StringRef overload = "");
  /// Moves `node` of any graph before `before` of this one (null: to the end).
  void moveHere(Node *node, Node *before);
  /// Drops and frees a node whose results have no uses.
  void eraseNode(Node *node);

  /// The node that has this graph as an attribute; null for the graph of a model or function.
  Node *parentNode() const { return parentNode_; }
  void setParentNode(Node *n) { parentNode_ = n; }
  Graph *parentGraph() const { return parentNode_ ? parentNode_->graph() : nullptr; }
  bool isAncestorOf(const Graph *other) const;
  /// The function it is (part of) the body of; null in the main graph.
  Function *function() const;
  Model &model() const;
  void setOwner(Model *m, Function *f) { model_ = m, function_ = f; }

  std::string name, doc;
  Metadata metadata;
  std::vector<LooseMessage> looseValueInfo;
  std::vector<std::string> quantization; ///< serialized TensorAnnotation messages
  std::shared_ptr<const AsRead> asRead;
  std::string leftover; ///< serialized GraphProto fields that nothing above covers

private:
  Context &context_;
  Node *parentNode_ = nullptr;
  Model *model_ = nullptr;
  Function *function_ = nullptr;
  std::vector<std::unique_ptr<Value>> inputs_, initializers_, undefined_;
  std::vector<OutputSlot> outputs_;
  std::unique_ptr<Node> return_;
  llvm::iplist<Node> nodes_; // last, so that nodes go before the values they use
};

struct OpsetImport {
  std::string domain;
  int64_t version = 0;
};

/// A model-local function. Its graph's inputs and outputs are its formals.
class Function {
public:
  explicit Function(Context &context) : graph(std::make_unique<Graph>(context)) {}
  llvm::StringRef name, domain, overload;
  std::unique_ptr<Graph> graph;
  std::vector<std::string> attributeNames;
  std::vector<Attribute> attributeDefaults;
  std::vector<OpsetImport> opsets;
  std::string doc;
  Metadata metadata;
  std::shared_ptr<const AsRead> asRead;
  std::string leftover;
};

class Model {
public:
  explicit Model(Context &context);
  ~Model();
  Context &context() const { return context_; }
  Graph &graph() const { return *graph_; }
  std::vector<std::unique_ptr<Function>> &functions() { return functions_; }
  llvm::ArrayRef<std::unique_ptr<Function>> functions() const { return functions_; }
  Function *findFunction(llvm::StringRef domain, llvm::StringRef name, llvm::StringRef overload) const;

  std::vector<OpsetImport> opsets;
  std::optional<int64_t> irVersion;
  std::string producerName, producerVersion, domain, doc;
  std::optional<int64_t> modelVersion;
  Metadata metadata;
  std::shared_ptr<const AsRead> asRead;
  std::string leftover; ///< training info, device configurations, unknown fields

  std::shared_ptr<FileSource> source;     ///< the bytes it was read from
  bool hasShadowing = false;              ///< some name hides another of an outer scope
  std::string path;                       ///< the file it was read from; '' for bytes
  std::vector<Diagnostic> importWarnings; ///< what readers of the file take differently, or may regret
  std::vector<Diagnostic> importErrors;   ///< faults of the file (DESIGN 3.10); passes refuse such a model
  /// Initializers that are also inputs count as constants: IR version < 4, or --freeze-default-inputs.
  bool defaultsAreConstants = false;

private:
  Context &context_;
  std::unique_ptr<Graph> graph_;
  std::vector<std::unique_ptr<Function>> functions_;
};

/// Version of `domain` in force for `node`; 0 where its owner does not import the domain.
int64_t opsetVersion(const Node &node);
int64_t opsetVersion(const Graph &graph, llvm::StringRef domain);

/// Calls `visit` for each node of `graph` and of all nested graphs, outer nodes before those inside them.
void walk(Graph &graph, llvm::function_ref<void(Node &)> visit);
/// Each graph of the model: main, then functions, nested ones after their parents.
void forEachGraph(Model &model, llvm::function_ref<void(Graph &)> visit);
uint64_t countNodes(const Model &model);

/// `main/Loop "l0"/body/Conv "c1"`
std::string pathOf(const Node &node);
std::string pathOf(const Graph &graph);

/// What attribute `name` of `callee` is at `call`: the call's own, else the function's default, else null.
const Attribute *boundAttribute(const Node &call, const Function &callee, llvm::StringRef name);

/// Copies the nodes of `from` into `to` before `before`. `map` gives the values that inputs and captures stand for and
/// receives all results. Names carry `prefix`. Attribute references are resolved by `bind` (null keeps them).
void cloneNodes(Graph &from, Graph &to, Node *before, llvm::DenseMap<Value *, Value *> &map, llvm::StringRef prefix,
                llvm::function_ref<const Attribute *(llvm::StringRef)> bind, bool resolveRefs);
Attribute cloneAttribute(const Attribute &a, Graph &owner, Node *node, llvm::DenseMap<Value *, Value *> &map,
                         llvm::StringRef prefix, llvm::function_ref<const Attribute *(llvm::StringRef)> bind,
                         bool resolveRefs);

} // namespace onnxopt
