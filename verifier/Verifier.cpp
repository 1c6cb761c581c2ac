// The layers of the verifier, from structure to shapes.
#include "onnxopt/verifier/Verifier.h"

#include "onnxopt/ops/Inference.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"

#include <set>

namespace onnxopt {
namespace {

class ModelVerifier {
public:
  ModelVerifier(Model &model, const VerifierOptions &options)
      : model_(model), options_(options), found_(model.importErrors) {}

  std::vector<Diagnostic> run() {
    header();
    functions();
    forEachGraph(model_, [&](Graph &g) {
      unsigned i = 0;
      for (Node &n : g.nodes())
        position_[&n] = i++;
    });
    forEachGraph(model_, [&](Graph &g) { structure(g); });
    if (options_.schemas)
      forEachGraph(model_, [&](Graph &g) {
        for (Node &n : g.nodes())
          node(n);
      });
    if (options_.shapes)
      shapes();
    if (options_.lint) {
      llvm::append_range(found_, model_.importWarnings);
      lint();
    }
    if (found_.size() > options_.maxErrors)
      found_.resize(options_.maxErrors);
    return std::move(found_);
  }

private:
  void report(Severity s, const char *code, std::string path, std::string message) {
    found_.push_back({s, code, std::move(path), std::move(message)});
  }
  void error(const char *code, std::string path, std::string message) {
    report(Severity::Error, code, std::move(path), std::move(message));
  }

  void header();
  void functions();
  void structure(Graph &g);
  void node(Node &n);
  void attributes(Node &n, schema::Schema s);
  void call(Node &n);
  void types(Node &n, schema::Schema s, const Inference &inference);
  void branches(Node &n, const Inference &inference);
  void shapes();
  void lint();

  Model &model_;
  const VerifierOptions &options_;
  std::vector<Diagnostic> found_;
  llvm::DenseMap<const Node *, unsigned> position_; ///< in its graph
};

void ModelVerifier::header() {
  if (!model_.irVersion)
    error("ONNX-MODEL-002", "main", "the model has no ir_version");
  else if (*model_.irVersion < 1 || *model_.irVersion > 14)
    error("ONNX-MODEL-002", "main", "ir_version " + std::to_string(*model_.irVersion) + " is not known (1 to 14 are)");
  int64_t ir = model_.irVersion.value_or(0);
  if (ir >= 3 && model_.opsets.empty())
    error("ONNX-MODEL-003", "main", "the model imports no opset");
  if (ir > 0 && ir < 3 && !model_.opsets.empty())
    error("ONNX-MODEL-003", "main", "opset imports need ir_version 3");
  std::map<std::string, int64_t> seen;
  for (const OpsetImport &o : model_.opsets) {
    std::string domain = o.domain == "ai.onnx" ? "" : o.domain;
    bool alias = false;
    for (const OpsetImport &other : model_.opsets)
      alias |= other.domain != o.domain && (other.domain == "ai.onnx" ? "" : other.domain) == domain;
    if (auto [it, fresh] = seen.try_emplace(domain, o.version); !fresh) {
      if (it->second != o.version && !alias)
        error("ONNX-MODEL-003", "main",
              "domain '" + domain + "' is imported twice, as version " + std::to_string(it->second) + " and " +
                  std::to_string(o.version));
      else
        report(Severity::Lint, "ONNX-LINT-003", "main", "domain '" + domain + "' is imported twice");
    }
    int64_t latest = schema::latestVersion(domain);
    if (o.version < 1 || (latest &&
                          o.version > std::max<int64_t>(latest, domain.empty()           ? kReviewedOpset
                                                                : domain == "ai.onnx.ml" ? kReviewedMlOpset
                                                                                         : latest) &&
                          schema::knowsDomain(domain) && (domain.empty() || domain == "ai.onnx.ml")))
      error("ONNX-MODEL-003", "main",
            "version " + std::to_string(o.version) + " of domain '" + domain + "' is not known");
  }
  // What an opset brought cannot be in a file of an older format.
  static const std::pair<int64_t, int64_t> lowestIr[] = {{25, 12}, {24, 11}, {23, 11}, {21, 10},
                                                         {19, 9},  {15, 8},  {9, 4}};
  if (auto it = seen.find(""); it != seen.end() && ir)
    for (auto [opset, needed] : lowestIr)
      if (it->second >= opset && ir < needed - (opset >= 23 ? 1 : 0) && ir < 4 && opset >= 19) {
        error("ONNX-MODEL-005", "main",
              "opset " + std::to_string(it->second) + " needs ir_version " + std::to_string(needed) +
                  ", the file has " + std::to_string(ir));
        break;
      }
  std::set<std::string> keys;
  for (const StringPair &p : model_.metadata)
    if (!keys.insert(p.key).second)
      error("ONNX-MODEL-004", "main", "metadata key '" + p.key + "' is given twice");
  // Element types that came with later formats.
  auto since = [](ElementType e) -> int64_t {
    switch (e) {
    case ElementType::Float8E4M3FN:
    case ElementType::Float8E4M3FNUZ:
    case ElementType::Float8E5M2:
    case ElementType::Float8E5M2FNUZ:
      return 9;
    case ElementType::Uint4:
    case ElementType::Int4:
      return 10;
    case ElementType::Float4E2M1:
      return 11;
    case ElementType::Float8E8M0:
      return 12;
    default:
      return 0;
    }
  };
  auto check = [&](ElementType e, const Graph &g, llvm::StringRef name) {
    if (ir && since(e) > ir)
      error("ONNX-MODEL-005", pathOf(g),
            "'" + name.str() + "' is " + nameOf(e).str() + ", which needs ir_version " + std::to_string(since(e)));
    if (nameOf(e).empty())
      error("ONNX-TENSOR-001", pathOf(g),
            "'" + name.str() + "' has the unknown element type " + std::to_string(int(e)));
  };
  forEachGraph(model_, [&](Graph &g) {
    for (const auto &v : g.inputs())
      if (v->declaredType() && v->declaredType()->isTensor())
        check(v->declaredType()->element, g, v->name());
    for (const auto &v : g.initializers())
      if (v->initializer())
        check(v->initializer()->type, g, v->name());
    for (const Node &n : g.nodes())
      if (const Attribute *a = n.is("Constant") ? n.attribute("value") : nullptr; a && a->asTensor())
        check(a->asTensor()->type, g, n.numResults() ? n.result()->name() : "value");
  });
}

void ModelVerifier::functions() {
  // Depth-first search for calls that come back.
  std::map<const Function *, int> state;
  std::function<bool(Function &)> visit = [&](Function &f) {
    int &s = state[&f];
    if (s == 1)
      return true;
    if (s == 2)
      return false;
    s = 1;
    bool cyclic = false;
    walk(*f.graph, [&](Node &n) {
      if (n.callee() && !cyclic)
        cyclic = visit(*n.callee());
    });
    state[&f] = 2;
    if (cyclic)
      error("ONNX-FUNC-003", pathOf(*f.graph), "the function calls itself, directly or through others");
    return false;
  };
  for (auto &f : model_.functions()) {
    visit(*f);
    std::set<std::string> imported;
    for (const OpsetImport &o : f->opsets) {
      if (!imported.insert(o.domain).second)
        error("ONNX-MODEL-003", pathOf(*f->graph), "domain '" + o.domain + "' is imported twice");
      if (o.domain.empty() && o.version > kReviewedOpset)
        error("ONNX-MODEL-003", pathOf(*f->graph),
              "version " + std::to_string(o.version) + " of domain '' is not known");
    }
    std::set<std::string> names;
    for (const std::string &a : f->attributeNames)
      if (!names.insert(a).second)
        error("ONNX-ATTR-001", pathOf(*f->graph), "attribute '" + a + "' is declared twice");
    for (const Attribute &a : f->attributeDefaults)
      if (!names.insert(a.name.str()).second)
        error("ONNX-ATTR-001", pathOf(*f->graph), "attribute '" + a.name.str() + "' is declared twice");
    if (!f->graph->initializers().empty())
      error("ONNX-FUNC-004", pathOf(*f->graph), "a function has no initializers");
  }
}

void ModelVerifier::structure(Graph &g) {
  if (model_.irVersion && *model_.irVersion < 4 && !g.parentNode() && !g.function())
    for (const auto &v : g.initializers())
      if (v->fromFile)
        error("ONNX-MODEL-005", pathOf(g),
              "initializer '" + v->name().str() + "' must be an input too in ir_version " +
                  std::to_string(*model_.irVersion));
  if (g.name.empty() && !g.function() && model_.importErrors.empty() && !g.parentNode())
    report(Severity::Lint, "ONNX-GRAPH-002", pathOf(g), "the graph has no name");
  // Positions in this graph; a use must come after its definition, also when it stands in a nested graph.
  auto before = [&](Node *user, const Value *v) {
    // Climb to the ancestor of the user that stands in the value's graph.
    Node *at = user;
    while (at && at->graph() != v->graph())
      at = at->graph()->parentNode();
    return at;
  };
  std::vector<std::pair<Node *, Node *>> late;
  for (Node &n : g.nodes())
    for (Value *v : n.operands()) {
      if (!v || v->kind() != Value::Result)
        continue;
      Node *at = before(&n, v);
      if (!at) {
        error("ONNX-SSA-002", pathOf(n), "'" + v->name().str() + "' is not visible here");
        continue;
      }
      if (v->graph() == &g) {
        if (position_[v->producer()] >= position_[&n])
          late.push_back({&n, v->producer()});
      } else if (at->graph()) {
        // A nested use: the producer must stand before the node that has the body.
        if (position_[v->producer()] >= position_[at])
          error("ONNX-SSA-005", pathOf(n), "'" + v->name().str() + "' is used before it is defined");
      }
    }
  for (auto [user, producer] : late) {
    // Does the producer depend on the user? Then it is a cycle.
    std::set<Node *> seen;
    std::vector<Node *> work{producer};
    bool cycle = producer == user;
    while (!work.empty() && !cycle) {
      Node *n = work.back();
      work.pop_back();
      if (!seen.insert(n).second)
        continue;
      for (Value *v : n->operands())
        if (v && v->producer()) {
          cycle |= v->producer() == user;
          work.push_back(v->producer());
        }
    }
    error("ONNX-SSA-005", pathOf(*user),
          cycle ? "a cycle: " + pathOf(*producer) + " needs this node and this node needs it"
                : "an operand is defined only later, by " + pathOf(*producer));
  }
}

void ModelVerifier::call(Node &n) {
  Function &f = *n.callee();
  if (n.numOperands() > f.graph->inputs().size())
    error("ONNX-FUNC-004", pathOf(n),
          std::to_string(n.numOperands()) + " operands for a function of " + std::to_string(f.graph->inputs().size()));
  if (n.numResults() > f.graph->outputs().size())
    error("ONNX-FUNC-004", pathOf(n),
          std::to_string(n.numResults()) + " results of a function of " + std::to_string(f.graph->outputs().size()));
  for (const Attribute &a : n.attributes()) {
    bool known = llvm::is_contained(f.attributeNames, a.name.str());
    for (const Attribute &d : f.attributeDefaults)
      known |= d.name == a.name;
    if (!known)
      error("ONNX-FUNC-004", pathOf(n), "the function has no attribute '" + a.name.str() + "'");
  }
  for (const std::string &required : f.attributeNames)
    if (!n.attribute(required))
      error("ONNX-FUNC-004", pathOf(n), "the function's attribute '" + required + "' has no default and is not given");
}

void ModelVerifier::node(Node &n) {
  auto path = [&] { return pathOf(n); }; // only for findings
  Function *owner = n.graph()->function();
  for (const Attribute &a : n.attributes()) {
    if (a.name.empty())
      error("ONNX-ATTR-005", path(), "an attribute has no name");
    if (!a.refName.empty()) {
      if (!owner) {
        error("ONNX-ATTR-007", path(),
              "attribute '" + a.name.str() + "' refers to '" + a.refName + "' outside a function");
      } else {
        bool known = llvm::is_contained(owner->attributeNames, a.refName);
        for (const Attribute &d : owner->attributeDefaults)
          known |= d.name == a.refName;
        if (!known)
          error("ONNX-ATTR-007", path(),
                "attribute '" + a.name.str() + "' refers to '" + a.refName + "', which the function does not declare");
      }
      continue;
    }
    bool singular = a.type == AttributeType::Tensor || a.type == AttributeType::SparseTensor ||
                    a.type == AttributeType::TypeProto || a.type == AttributeType::Graph;
    bool empty =
        std::holds_alternative<std::monostate>(a.value) || (singular && std::visit(
                                                                            [](const auto &v) {
                                                                              if constexpr (requires { v.empty(); })
                                                                                return v.empty();
                                                                              else
                                                                                return false;
                                                                            },
                                                                            a.value));
    if (empty)
      error("ONNX-ATTR-005", path(),
            "attribute '" + a.name.str() + "' has no value of its type " + nameOf(a.type).str());
  }
  if (n.callee())
    return call(n);
  int64_t version = opsetVersion(n);
  if (!version && !(n.domain().empty() && model_.irVersion.value_or(0) < 3)) {
    error("ONNX-OP-006", path(), "domain '" + n.domain().str() + "' is not imported");
    return;
  }
  bool hasFunctions = llvm::any_of(model_.functions(), [&](const auto &f) { return f->domain == n.domain(); });
  if (hasFunctions && !schema::knowsDomain(n.domain())) {
    error("ONNX-OP-001", path(),
          "domain '" + n.domain().str() + "' has functions, but none named '" + n.opType().str() + "'");
    return;
  }
  if (!schema::knowsDomain(n.domain()))
    return; // a custom operator is legal and opaque
  schema::Schema s = schema::lookup(n.domain(), n.opType(), version ? version : 1);
  if (!s) {
    bool microsoft = n.domain() == "com.microsoft"; // other runtimes register more there
    report(microsoft ? Severity::Warning : Severity::Error, "ONNX-OP-001", path(),
           "no operator '" + n.opType().str() + "' in version " + std::to_string(version) + " of domain '" +
               n.domain().str() + "'");
    return;
  }
  if (s.deprecated())
    error("ONNX-OP-002", path(), "'" + n.opType().str() + "' is deprecated in version " + std::to_string(version));
  int operands = n.numOperands(), results = n.numResults();
  int given = operands;
  while (given && !n.operand(given - 1))
    --given;
  if (given < s.minInputs() || operands > s.maxInputs())
    error("ONNX-OP-003", path(),
          std::to_string(operands) + " operands, " +
              (s.minInputs() == s.maxInputs()
                   ? std::to_string(s.minInputs())
                   : "between " + std::to_string(s.minInputs()) + " and " +
                         (s.maxInputs() > 1000 ? "any number" : std::to_string(s.maxInputs()))) +
              " expected");
  if (results < s.minOutputs() || results > s.maxOutputs())
    error("ONNX-OP-004", path(),
          std::to_string(results) + " results, between " + std::to_string(s.minOutputs()) + " and " +
              (s.maxOutputs() > 1000 ? "any number" : std::to_string(s.maxOutputs())) + " expected");
  for (int i = 0; i < operands; ++i) {
    const schema::Formal *f = s.input(i);
    if (f && f->mustBeGiven() && !n.operand(i))
      error("ONNX-OP-005", path(), std::string("operand ") + std::to_string(i) + " ('" + f->name + "') is required");
  }
  for (int i = 0; i < results; ++i) {
    const schema::Formal *f = s.output(i);
    if (f && f->kind() == schema::FormalOption::Single && n.result(i)->name().empty() && !n.result(i)->hasUses() &&
        n.result(i)->fromFile)
      if (i < s.minOutputs())
        error("ONNX-OP-005", path(), std::string("result ") + std::to_string(i) + " ('" + f->name + "') needs a name");
  }
  if (n.is("If"))
    for (Graph *g : n.regions())
      if (!g->inputs().empty())
        error("ONNX-OP-003", pathOf(*g),
              "a branch takes no inputs, this one has " + std::to_string(g->inputs().size()));
  attributes(n, s);
}

void ModelVerifier::attributes(Node &n, schema::Schema s) {
  auto path = [&] { return pathOf(n); }; // only for findings
  for (const Attribute &a : n.attributes()) {
    const schema::AttributeSpec *spec = s.attribute(a.name);
    if (!spec) {
      // Names that begin so are for internal use of runtimes.
      if (!a.name.starts_with("__") && n.domain() != "com.microsoft")
        error("ONNX-ATTR-002", path(), "'" + n.opType().str() + "' has no attribute '" + a.name.str() + "'");
      continue;
    }
    if (a.type != AttributeType::Undefined && int(a.type) != spec->type)
      error("ONNX-ATTR-003", path(),
            "attribute '" + a.name.str() + "' is " + nameOf(a.type).str() + ", " +
                nameOf(static_cast<AttributeType>(spec->type)).str() + " expected");
    if (a.name == "auto_pad" && a.type == AttributeType::String && a.refName.empty() &&
        std::holds_alternative<std::string>(a.value)) {
      llvm::StringRef v = a.asString();
      if (v != "NOTSET" && v != "VALID" && v != "SAME_UPPER" && v != "SAME_LOWER")
        error("ONNX-ATTR-006", path(), "auto_pad '" + v.str() + "' is unknown");
    }
  }
  for (const schema::AttributeSpec &spec : s.attributes())
    if (spec.required && !n.attribute(spec.name))
      error("ONNX-ATTR-004", path(), std::string("attribute '") + spec.name + "' is required");
  if (n.is("Constant")) {
    size_t values = 0;
    for (const Attribute &a : n.attributes())
      values += a.name == "value" || a.name.starts_with("value_") || a.name == "sparse_value";
    if (values != 1)
      error("ONNX-ATTR-005", path(), "a Constant needs exactly one value, it has " + std::to_string(values));
  }
}

void ModelVerifier::types(Node &n, schema::Schema s, const Inference &inference) {
  schema::TypeVariables variables;
  auto check = [&](const Value *v, const schema::Formal *f, const char *what, unsigned i) {
    if (!v || !f)
      return;
    std::string type = schemaName(inference.typeOf(v));
    if (type.empty())
      return;
    if (!s.allows(*f, type)) {
      error("ONNX-TYPE-004", pathOf(n),
            std::string(what) + " " + std::to_string(i) + " ('" + v->name().str() + "') is " + type + ", which '" +
                n.opType().str() + "' does not " + (what[0] == 'o' ? "take" : "give"));
      return;
    }
    if (std::string other = variables.bind(*f, type); !other.empty())
      error("ONNX-TYPE-004", pathOf(n),
            std::string(what) + " " + std::to_string(i) + " ('" + v->name().str() + "') is " + type +
                ", another of the same type variable " + f->type + " is " + other);
  };
  for (unsigned i = 0; i < n.numOperands(); ++i)
    check(n.operand(i), s.input(i), "operand", i);
  for (unsigned i = 0; i < n.numResults(); ++i)
    check(n.result(i), s.output(i), "result", i);
}

void ModelVerifier::shapes() {
  // Faulty structure would only be found again, or lead rules astray.
  for (const Diagnostic &d : found_)
    if (d.severity == Severity::Error &&
        (llvm::StringRef(d.code).starts_with("ONNX-SSA-005") || llvm::StringRef(d.code).starts_with("ONNX-FUNC-003") ||
         d.code == "ONNX-MODEL-001"))
      return;
  InferenceOptions options;
  options.contradiction = Severity::Error;
  Inference inference(model_, options);
  inference.run();
  std::set<std::pair<std::string, std::string>> seen;
  for (const Diagnostic &d : inference.diagnostics())
    if (seen.insert({d.path, d.message}).second)
      found_.push_back(d);
  forEachGraph(model_, [&](Graph &g) {
    if (g.function())
      return;
    if (options_.lint)
      for (Node &n : g.nodes())
        if (n.is("If") && n.regions().size() == 2)
          branches(n, inference);
    for (Node &n : g.nodes()) {
      if (n.callee() || !schema::knowsDomain(n.domain()) || n.domain() == "com.microsoft")
        continue;
      if (schema::Schema s = schema::lookup(n.domain(), n.opType(), opsetVersion(n)))
        types(n, s, inference);
    }
    for (const auto &v : g.inputs()) {
      const Type *t = v->declaredType();
      if (v->initializer() && t && t->isTensor()) {
        const TensorData &c = *v->initializer();
        if (t->hasElement() && t->element != c.type)
          error("ONNX-TYPE-001", pathOf(g),
                "input '" + v->name().str() + "' is declared " + nameOf(t->element).str() + ", its initializer is " +
                    nameOf(c.type).str());
        bool fits = !t->ranked || t->rank() == c.dims.size();
        for (size_t i = 0; fits && t->ranked && i < t->rank(); ++i)
          fits = !t->dims[i].isConstant() || t->dims[i].constant() == c.dims[i];
        if (!fits)
          error("ONNX-TYPE-001", pathOf(g),
                "input '" + v->name().str() + "' is declared " + toString(*t, model_.context().dims()) +
                    ", its initializer has other dims");
      }
      if (!g.parentNode() && !g.function() && !t)
        error("ONNX-TYPE-001", pathOf(g), "input '" + v->name().str() + "' has no type");
    }
  });
}

/// Branches may differ in rank; nothing is known of the result's shape then.
void ModelVerifier::branches(Node &n, const Inference &inference) {
  Node *a = n.regions()[0]->returnNode(), *b = n.regions()[1]->returnNode();
  for (unsigned i = 0; i < n.numResults() && i < a->numOperands() && i < b->numOperands(); ++i) {
    Type x = inference.typeOf(a->operand(i)), y = inference.typeOf(b->operand(i));
    if (x.isTensor() && y.isTensor() && x.ranked && y.ranked && x.rank() != y.rank())
      report(Severity::Lint, "ONNX-LINT-004", pathOf(n),
             "result " + std::to_string(i) + " has rank " + std::to_string(x.rank()) + " or " +
                 std::to_string(y.rank()) + " by the branch taken");
  }
}

void ModelVerifier::lint() {
  forEachGraph(model_, [&](Graph &g) {
    for (Node &n : g.nodes())
      if (n.numResults() && n.resultsUnused())
        report(Severity::Lint, "ONNX-LINT-001", pathOf(n), "nothing uses the results");
    for (size_t i = 0; i < g.looseValueInfo.size(); ++i)
      report(Severity::Lint, "ONNX-LINT-002", pathOf(g),
             "value_info entry " + std::to_string(g.looseValueInfo[i].position) + " is for no value, or a second one");
  });
  if (model_.hasShadowing)
    report(Severity::Warning, "ONNX-SSA-006", "main", "a name hides one of an outer graph");
}

} // namespace

std::vector<Diagnostic> verify(Model &model, const VerifierOptions &options) {
  return ModelVerifier(model, options).run();
}

bool hasErrors(llvm::ArrayRef<Diagnostic> diagnostics) {
  return llvm::any_of(diagnostics, [](const Diagnostic &d) { return d.severity == Severity::Error; });
}

} // namespace onnxopt
