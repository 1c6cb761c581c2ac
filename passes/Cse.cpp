// cse: one node for equal computations.
#include "onnxopt/passes/Pass.h"

#include "llvm/Support/xxhash.h"

#include <cstring>
#include <unordered_map>

namespace onnxopt {
namespace {

bool sameTensor(const TensorData &a, const TensorData &b) {
  if (&a == &b)
    return true;
  if (a.type != b.type || a.dims != b.dims || a.elided || b.elided)
    return false;
  if (a.payload.source && a.payload.source == b.payload.source && a.payload.offset == b.payload.offset)
    return a.payload.encoding == b.payload.encoding;
  if (a.byteSize() > (1 << 16)) // weights are told apart by where they lie
    return false;
  auto x = a.read(), y = b.read();
  if (!x.ok() || !y.ok())
    return false;
  return x->isString() ? x->strings() == y->strings() : std::memcmp(x->bytes(), y->bytes(), x->byteSize()) == 0;
}

bool sameAttribute(const Attribute &a, const Attribute &b) {
  if (a.type != b.type || a.refName != b.refName || a.value.index() != b.value.index())
    return false;
  if (const auto *f = std::get_if<float>(&a.value)) // bit for bit: -0 and NaN count
    return std::memcmp(f, &std::get<float>(b.value), sizeof *f) == 0;
  if (const auto *i = std::get_if<int64_t>(&a.value))
    return *i == std::get<int64_t>(b.value);
  if (const auto *s = std::get_if<std::string>(&a.value))
    return *s == std::get<std::string>(b.value);
  if (const auto *v = std::get_if<std::vector<int64_t>>(&a.value))
    return *v == std::get<std::vector<int64_t>>(b.value);
  if (const auto *v = std::get_if<std::vector<std::string>>(&a.value))
    return *v == std::get<std::vector<std::string>>(b.value);
  if (const auto *v = std::get_if<std::vector<float>>(&a.value)) {
    const auto &w = std::get<std::vector<float>>(b.value);
    return v->size() == w.size() && std::memcmp(v->data(), w.data(), v->size() * sizeof(float)) == 0;
  }
  if (const auto *t = std::get_if<Attribute::Tensors>(&a.value)) {
    const auto &u = std::get<Attribute::Tensors>(b.value);
    if (t->size() != u.size())
      return false;
    for (size_t i = 0; i < t->size(); ++i)
      if (!sameTensor(*(*t)[i], *u[i]))
        return false;
    return true;
  }
  return std::holds_alternative<std::monostate>(a.value);
}

bool sameNode(const Node &a, const Node &b) {
  if (a.opType() != b.opType() || a.domain() != b.domain() || a.overload() != b.overload() ||
      a.callee() != b.callee() || a.numResults() != b.numResults() || a.attributes().size() != b.attributes().size() ||
      a.operands() != b.operands())
    return false;
  for (const Attribute &x : a.attributes()) {
    const Attribute *y = b.attribute(x.name);
    if (!y || !sameAttribute(x, *y))
      return false;
  }
  return true;
}

uint64_t hashOf(const Node &n) {
  std::string key = (n.opType() + "\n" + n.domain()).str();
  for (Value *v : n.operands())
    key.append(reinterpret_cast<const char *>(&v), sizeof v);
  uint64_t attributes = 0; // in any order
  for (const Attribute &a : n.attributes()) {
    std::string s = a.name.str();
    if (const auto *i = std::get_if<int64_t>(&a.value))
      s += std::to_string(*i);
    if (const auto *v = std::get_if<std::vector<int64_t>>(&a.value))
      for (int64_t x : *v)
        s += std::to_string(x) + ",";
    if (auto t = a.asTensor()) // enough to tell most constants apart
      if (t->byteSize() <= 64)
        if (auto read = t->read(); read.ok() && !read->isString())
          s.append(read->bytes(), read->byteSize());
    attributes += llvm::xxh3_64bits(s);
  }
  return llvm::xxh3_64bits(key) ^ attributes;
}

/// Merges pure, deterministic nodes without bodies that have equal operands and attributes, and equal initializers.
/// A node also merges with an equal one of an enclosing graph.
class Cse : public Pass {
public:
  absl::StatusOr<bool> run(Model &model, PassContext &ctx) override {
    Rewriter rewriter(model.context());
    uint64_t merged = 0;
    using Table = std::unordered_multimap<uint64_t, Node *>;
    std::function<void(Graph &, std::vector<Table> &)> visit = [&](Graph &g, std::vector<Table> &scopes) {
      mergeInitializers(g, rewriter, merged);
      scopes.emplace_back();
      for (auto it = g.nodes().begin(); it != g.nodes().end();) {
        Node &n = *it++;
        if (n.regions().empty() && n.numResults() && isPure(n) && isDeterministic(n)) {
          uint64_t h = hashOf(n);
          Node *twin = nullptr;
          for (Table &t : scopes) {
            auto [first, last] = t.equal_range(h);
            for (; first != last && !twin; ++first)
              if (sameNode(*first->second, n))
                twin = first->second;
          }
          if (twin) {
            llvm::SmallVector<Value *, 2> values;
            for (const auto &r : twin->results())
              values.push_back(r.get());
            rewriter.replace(&n, values);
            ++merged;
            continue;
          }
          scopes.back().emplace(h, &n);
        }
        for (Graph *r : n.regions())
          visit(*r, scopes);
      }
      scopes.pop_back();
    };
    std::vector<Table> scopes;
    visit(model.graph(), scopes);
    for (auto &f : model.functions())
      visit(*f->graph, scopes);
    ctx.count("cse", "merged", merged);
    return rewriter.changes() > 0;
  }

private:
  static void mergeInitializers(Graph &g, Rewriter &rewriter, uint64_t &merged) {
    std::unordered_multimap<uint64_t, Value *> seen;
    for (const auto &v : g.initializers()) {
      const auto &t = v->initializer();
      if (!t || !v->hasUses() || t->byteSize() > (1 << 16) || t->elided || !t->problem.empty())
        continue;
      std::string key = std::to_string(int(t->type));
      for (int64_t d : t->dims)
        key += "," + std::to_string(d);
      auto read = t->read();
      if (!read.ok() || read->isString())
        continue;
      key.append(read->bytes(), read->byteSize());
      uint64_t h = llvm::xxh3_64bits(key);
      Value *twin = nullptr;
      auto [first, last] = seen.equal_range(h);
      for (; first != last; ++first)
        if (sameTensor(*first->second->initializer(), *t))
          twin = first->second;
      if (!twin) {
        seen.emplace(h, v.get());
        continue;
      }
      bool returned = false; // an output that is an initializer keeps its own
      for (Use *u : v->uses())
        returned |= u->user()->isReturn();
      if (returned)
        continue;
      rewriter.replaceAllUses(v.get(), twin);
      ++merged;
    }
  }
};

} // namespace

PassRegistry::Entry makeCseEntry() {
  return {"cse", "merge equal computations and equal small constants", "", [] { return std::make_unique<Cse>(); }};
}

} // namespace onnxopt
