// Frames, lifetimes, bodies and calls.
#include "onnxopt/exec/Executor.h"

#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ops/Evaluate.h"
#include "onnxopt/ops/Inference.h"

#include "llvm/Support/xxhash.h"

#include <cstring>

namespace onnxopt::exec {
namespace {

struct Frame {
  const Frame *outer = nullptr;
  llvm::DenseMap<const Value *, Datum> values;
  const Datum *find(const Value *v) const {
    for (const Frame *f = this; f; f = f->outer)
      if (auto it = f->values.find(v); it != f->values.end())
        return &it->second;
    return nullptr;
  }
};

/// Which values of a graph are last read by which of its nodes.
struct Lifetimes {
  std::vector<llvm::SmallVector<const Value *, 2>> dying; // by node position
};

uint64_t bytesOf(const Datum &d) {
  if (d.isTensor())
    return d.tensor.byteSize();
  uint64_t n = 0;
  if (d.items)
    for (const Datum &x : *d.items)
      n += bytesOf(x);
  return n;
}

constexpr uint64_t kGuard = 64;
constexpr unsigned char kGuardByte = 0xa5, kPoison = 0xff;

/// Copies tensors that lie in an arena to memory of their own.
void detach(Datum &d) {
  if (d.isTensor() && !d.tensor.isString() && d.tensor.bytes() && !d.tensor.ownsMemory()) {
    Tensor copy(d.tensor.type(), d.tensor.dims());
    std::memcpy(copy.mutableBytes(), d.tensor.bytes(), copy.byteSize());
    d.tensor = copy;
  }
  if (d.items)
    for (Datum &x : d.mutableElements())
      detach(x);
}

/// The arena of one run: tensors are copied to their slots, and everything that a wrong plan would spoil is checked.
class Arena {
public:
  explicit Arena(const MemoryPlan &plan) : plan_(plan), bytes_(plan.arenaSize + 2 * kGuard, kPoison) {
    std::fill_n(bytes_.begin(), kGuard, kGuardByte);
    std::fill_n(bytes_.end() - kGuard, kGuard, kGuardByte);
  }

  /// Moves a result into its slot. Any live value that it touches, but for its donor, is an error.
  absl::Status place(const Value &v, Datum &d, const Node &by) {
    auto it = plan_.slots.find(&v);
    if (it == plan_.slots.end() || !d.isTensor() || d.tensor.isString())
      return absl::OkStatus();
    const MemoryPlan::Slot &s = it->second;
    uint64_t size = d.tensor.byteSize();
    if (size > s.size)
      return absl::InternalError("memory plan: value '" + v.name().str() + "' needs " + std::to_string(size) +
                                 " bytes, its slot has " + std::to_string(s.size));
    if (s.offset + s.size > plan_.arenaSize)
      return absl::InternalError("memory plan: the slot of '" + v.name().str() + "' ends beyond the arena");
    for (auto &[other, live] : live_) {
      const MemoryPlan::Slot &o = plan_.slots.find(other)->second;
      if (o.offset < s.offset + s.size && s.offset < o.offset + o.size && other != s.donor)
        return absl::InternalError("memory plan: " + pathOf(by) + " writes '" + v.name().str() + "' over '" +
                                   other->name().str() + "', bytes " + std::to_string(std::max(o.offset, s.offset)) +
                                   ".." + std::to_string(std::min(o.offset + o.size, s.offset + s.size)) +
                                   ", which is read later");
    }
    char *memory = reinterpret_cast<char *>(bytes_.data()) + kGuard + s.offset;
    std::memmove(memory, d.tensor.bytes(), size);
    if (s.donor)
      live_.erase(s.donor);
    live_[&v] = {llvm::xxh3_64bits(llvm::ArrayRef<uint8_t>(reinterpret_cast<uint8_t *>(memory), size)), size};
    d = Tensor::inPlaceOf(memory, d.tensor.type(), d.tensor.dims());
    return absl::OkStatus();
  }
  /// A planned value must still hold what was written.
  absl::Status check(const Value &v, const Node &reader) const {
    auto it = live_.find(&v);
    if (it == live_.end()) {
      if (plan_.slots.count(&v))
        return absl::InternalError("memory plan: " + pathOf(reader) + " reads '" + v.name().str() +
                                   "' after its memory was given away");
      return absl::OkStatus();
    }
    const MemoryPlan::Slot &s = plan_.slots.find(&v)->second;
    if (llvm::xxh3_64bits(llvm::ArrayRef<uint8_t>(bytes_.data() + kGuard + s.offset, it->second.size)) !=
        it->second.hash)
      return absl::InternalError("memory plan: '" + v.name().str() + "' was overwritten before " + pathOf(reader) +
                                 " read it");
    return absl::OkStatus();
  }
  void release(const Value &v) {
    auto it = live_.find(&v);
    if (it == live_.end())
      return;
    const MemoryPlan::Slot &s = plan_.slots.find(&v)->second;
    std::fill_n(bytes_.begin() + kGuard + s.offset, it->second.size, kPoison);
    live_.erase(it);
  }
  absl::Status checkGuards() const {
    for (uint64_t i = 0; i < kGuard; ++i)
      if (bytes_[i] != kGuardByte || bytes_[bytes_.size() - 1 - i] != kGuardByte)
        return absl::InternalError("memory plan: a kernel wrote beyond the arena");
    return absl::OkStatus();
  }

private:
  struct Live {
    uint64_t hash, size;
  };
  const MemoryPlan &plan_;
  std::vector<unsigned char> bytes_;
  llvm::DenseMap<const Value *, Live> live_;
};

} // namespace

class Executor::Engine {
public:
  Engine(const Model &model, RunOptions options) : model_(model), options_(std::move(options)) {}

  absl::StatusOr<std::vector<Datum>> run(const std::map<std::string, Datum> &inputs);
  absl::Status runGraph(Graph &g, Frame &frame, std::vector<Datum> &outputs, bool isMain);
  absl::Status runNode(Node &n, Frame &frame, llvm::ArrayRef<const Value *> dying);
  absl::Status call(Node &n, const EvalContext &ctx, llvm::SmallVectorImpl<Datum> &results);
  absl::StatusOr<Datum> constant(const Value *v, const TensorData &data);
  absl::Status step(uint64_t count) {
    steps_ += count;
    return steps_ > options_.steps
               ? absl::ResourceExhaustedError("the run takes more than " + std::to_string(options_.steps) + " steps")
               : absl::OkStatus();
  }
  const Lifetimes &lifetimes(Graph &g);
  Type provedType(const Value &v);

  const Model &model_;
  RunOptions options_;
  const std::map<std::string, Datum> *inputs_ = nullptr; ///< of this run
  uint64_t steps_ = 0, live_ = 0, peak_ = 0;
  unsigned depth_ = 0;
  llvm::DenseMap<const Value *, Datum> constants_;
  llvm::DenseMap<const Graph *, std::unique_ptr<Lifetimes>> lifetimes_;
  struct Body {
    std::unique_ptr<Model> scratch;
    llvm::SmallVector<Value *, 4> outputs;
  };
  llvm::DenseMap<const Node *, Body> bodies_; // of calls, with attributes put in place
  llvm::DenseMap<const Model *, std::unique_ptr<Inference>> inferences_;
  std::unique_ptr<Arena> arena_;
};

namespace {

class NodeContext : public EvalContext {
public:
  using RunRegion = llvm::function_ref<absl::Status(Graph &, std::vector<Datum>, std::vector<Datum> &)>;
  NodeContext(const Node &n, RunRegion region, llvm::function_ref<Type(const Value &)> proved, uint64_t memory,
              llvm::function_ref<absl::Status(uint64_t)> step)
      : EvalContext(n), region_(region), proved_(proved), memory_(memory), step_(step) {}
  Type provedType(unsigned i) override { return i < node_.numResults() ? proved_(*node_.result(i)) : Type(); }
  absl::Status runRegion(Graph &body, std::vector<Datum> in, std::vector<Datum> &out) override {
    return region_(body, std::move(in), out);
  }
  uint64_t randomSeed() const override { return node_.numResults() ? llvm::xxh3_64bits(node_.result(0)->name()) : 0; }
  uint64_t memoryLimit() const override { return memory_; }
  absl::Status step(uint64_t n) override { return step_(n); }

private:
  RunRegion region_;
  llvm::function_ref<Type(const Value &)> proved_;
  uint64_t memory_;
  llvm::function_ref<absl::Status(uint64_t)> step_;
};

} // namespace

const Lifetimes &Executor::Engine::lifetimes(Graph &g) {
  auto &slot = lifetimes_[&g];
  if (slot)
    return *slot;
  slot = std::make_unique<Lifetimes>();
  llvm::DenseMap<const Value *, size_t> last;
  size_t position = 0;
  std::function<void(Node &)> visit = [&](Node &n) {
    for (Value *v : n.operands())
      if (v && v->graph() == &g)
        last[v] = position;
    for (Graph *r : n.regions()) {
      for (Node &inner : r->nodes())
        visit(inner);
      visit(*r->returnNode());
    }
  };
  for (Node &n : g.nodes()) {
    for (const auto &r : n.results())
      last[r.get()] = position; // unused results die at once
    visit(n);
    ++position;
  }
  for (Value *v : g.returnNode()->operands())
    last.erase(v);
  slot->dying.resize(position);
  for (auto [v, at] : last)
    slot->dying[at].push_back(v);
  return *slot;
}

absl::StatusOr<Datum> Executor::Engine::constant(const Value *v, const TensorData &data) {
  auto it = constants_.find(v);
  if (it != constants_.end())
    return it->second;
  if (data.byteSize() > options_.memoryBytes)
    return absl::ResourceExhaustedError("constant '" + v->name().str() + "' is over the memory limit");
  auto t = data.read();
  if (!t.ok())
    return t.status();
  return constants_[v] = Datum(std::move(*t));
}

absl::Status Executor::Engine::runGraph(Graph &g, Frame &frame, std::vector<Datum> &outputs, bool isMain) {
  if (++depth_ > 200)
    return absl::ResourceExhaustedError("calls and bodies are nested too deeply");
  for (const auto &v : g.initializers()) {
    if (v->initializer()) {
      auto d = constant(v.get(), *v->initializer());
      if (!d.ok())
        return d.status();
      frame.values[v.get()] = *d;
    } else if (v->maybeExtra() && v->maybeExtra()->sparseInitializer) {
      return absl::UnimplementedError("sparse initializer '" + v->name().str() + "' cannot be run");
    }
  }
  const Lifetimes &l = lifetimes(g);
  size_t position = 0;
  for (Node &n : g.nodes()) {
    if (absl::Status s = step(1); !s.ok())
      return s;
    if (absl::Status s = runNode(n, frame, l.dying[position]); !s.ok())
      return s;
    if (isMain && arena_)
      for (const auto &r : n.results())
        if (auto it = frame.values.find(r.get()); it != frame.values.end()) {
          if (absl::Status s = arena_->place(*r, it->second, n); !s.ok())
            return s;
          if (!options_.plan->slots.count(r.get()))
            detach(it->second); // it may share an operand's memory, which goes back to the arena
        }
    for (const auto &r : n.results())
      if (auto it = frame.values.find(r.get()); it != frame.values.end()) {
        live_ += bytesOf(it->second);
        if (options_.observe && (isMain || options_.observeBodies) && !r->name().empty())
          if (absl::Status s = options_.observe(*r, it->second); !s.ok())
            return s;
      }
    peak_ = std::max(peak_, live_);
    for (const Value *v : l.dying[position])
      if (auto it = frame.values.find(v); it != frame.values.end()) {
        if (v->kind() == Value::Result)
          live_ -= std::min(live_, bytesOf(it->second));
        if (isMain && arena_)
          arena_->release(*v);
        frame.values.erase(it);
      }
    ++position;
  }
  for (Value *v : g.returnNode()->operands()) {
    const Datum *d = v ? frame.find(v) : nullptr;
    if (isMain && arena_ && v)
      if (absl::Status s = arena_->check(*v, *g.returnNode()); !s.ok())
        return s;
    outputs.push_back(d ? *d : Datum());
  }
  --depth_;
  return absl::OkStatus();
}

absl::Status Executor::Engine::call(Node &n, const EvalContext &ctx, llvm::SmallVectorImpl<Datum> &results) {
  Function &f = *n.callee();
  if (depth_ > 64)
    return absl::ResourceExhaustedError(pathOf(n) + ": calls are nested too deeply");
  auto it = bodies_.find(&n);
  if (it == bodies_.end()) {
    Body body;
    body.scratch = std::make_unique<Model>(model_.context());
    body.scratch->opsets = f.opsets;
    Graph &g = body.scratch->graph();
    llvm::DenseMap<Value *, Value *> map;
    for (const auto &v : f.graph->inputs())
      map[v.get()] = g.addInput(v->name());
    auto bind = [&](llvm::StringRef name) { return boundAttribute(n, f, name); };
    cloneNodes(*f.graph, g, nullptr, map, "", bind, true);
    for (unsigned i = 0; i < f.graph->outputs().size(); ++i) {
      Value *v = f.graph->returnNode()->operand(i);
      g.addOutput(map.count(v) ? map[v] : v, f.graph->outputs()[i].name);
    }
    it = bodies_.try_emplace(&n, std::move(body)).first;
  }
  Graph &g = it->second.scratch->graph();
  Frame frame;
  for (size_t i = 0; i < g.inputs().size(); ++i)
    if (ctx.isGiven(i))
      frame.values[g.inputs()[i].get()] = ctx.datum(i);
  std::vector<Datum> outputs;
  if (absl::Status s = runGraph(g, frame, outputs, false); !s.ok())
    return s;
  for (unsigned i = 0; i < results.size() && i < outputs.size(); ++i)
    results[i] = std::move(outputs[i]);
  return absl::OkStatus();
}

/// Offers the memory of operands that die at the node to the results that may overwrite them.
static void offerDonors(const Node &n, const OpFacts &facts, Frame &frame, llvm::ArrayRef<const Value *> dying,
                        EvalContext &ctx) {
  for (const Reuse &r : facts.reuse) {
    const Value *v = n.operand(r.operand);
    if (r.kind != Reuse::Overwrite || !llvm::is_contained(dying, v) || llvm::count(n.operands(), v) != 1)
      continue;
    auto it = frame.values.find(v);
    if (it != frame.values.end() && it->second.isTensor())
      ctx.donors.push_back({r.result, &it->second.tensor});
  }
}

absl::Status Executor::Engine::runNode(Node &n, Frame &frame, llvm::ArrayRef<const Value *> dying) {
  auto region = [&](Graph &g, std::vector<Datum> in, std::vector<Datum> &out) -> absl::Status {
    Frame inner;
    inner.outer = &frame;
    if (in.size() > g.inputs().size())
      return absl::InvalidArgumentError(pathOf(g) + ": the body takes fewer inputs than it is given");
    for (size_t i = 0; i < in.size(); ++i)
      inner.values[g.inputs()[i].get()] = std::move(in[i]);
    return runGraph(g, inner, out, false);
  };
  auto count = [&](uint64_t c) { return step(c); };
  auto proved = [&](const Value &v) { return provedType(v); };
  NodeContext ctx(n, region, proved, options_.memoryBytes, count);
  for (unsigned i = 0; i < n.numOperands(); ++i) {
    const Value *v = n.operand(i);
    if (!v) {
      ctx.operands.push_back(nullptr);
      continue;
    }
    const Datum *d = frame.find(v);
    if (!d)
      return absl::InvalidArgumentError(pathOf(n) + ": operand '" + v->name().str() + "' has no value");
    if (arena_ && !frame.outer)
      if (absl::Status s = arena_->check(*v, n); !s.ok())
        return s;
    ctx.operands.push_back(d);
  }
  ctx.results.resize(n.numResults());
  for (const auto &r : n.results())
    ctx.wanted.push_back(r->hasUses());
  absl::Status s;
  if (n.callee()) {
    s = call(n, ctx, ctx.results);
  } else {
    const OpFacts *facts = factsOf(n);
    if (!facts || !facts->eval)
      return absl::UnimplementedError(pathOf(n) + ": no kernel for " +
                                      (n.domain().empty() ? "" : n.domain().str() + "::") + n.opType().str() + "-" +
                                      std::to_string(opsetVersion(n)));
    offerDonors(n, *facts, frame, dying, ctx);
    s = evaluateNode(*facts, ctx);
  }
  if (!s.ok())
    return s;
  for (unsigned i = 0; i < n.numResults(); ++i)
    frame.values[n.result(i)] = std::move(ctx.results[i]);
  return absl::OkStatus();
}

/// Few nodes ask (loops without iterations): a model is inferred when the first does.
Type Executor::Engine::provedType(const Value &v) {
  Model &model = v.graph()->model();
  std::unique_ptr<Inference> &inference = inferences_[&model];
  if (!inference) {
    inference = std::make_unique<Inference>(model);
    inference->run();
  }
  Type t = inference->typeOf(&v);
  DimContext &dims = model.context().dims();
  const DimBindings sizes = bindingsOf(model_, *inputs_);
  for (Dim &d : t.dims)
    if (auto n = d ? dims.evaluate(d, sizes) : std::nullopt)
      d = dims.constant(*n);
  return t;
}

absl::StatusOr<std::vector<Datum>> Executor::Engine::run(const std::map<std::string, Datum> &inputs) {
  steps_ = live_ = peak_ = 0;
  depth_ = 0;
  inputs_ = &inputs;
  arena_ = options_.plan ? std::make_unique<Arena>(*options_.plan) : nullptr;
  Frame frame;
  Graph &g = model_.graph();
  for (const auto &v : g.inputs()) {
    auto it = inputs.find(v->name().str());
    if (it != inputs.end()) {
      frame.values[v.get()] = it->second;
    } else if (v->initializer()) {
      auto d = constant(v.get(), *v->initializer());
      if (!d.ok())
        return d.status();
      frame.values[v.get()] = *d;
    } else {
      return absl::InvalidArgumentError("input '" + v->name().str() + "' is not given");
    }
  }
  std::vector<Datum> outputs;
  if (absl::Status s = runGraph(g, frame, outputs, true); !s.ok())
    return s;
  if (arena_) {
    if (absl::Status s = arena_->checkGuards(); !s.ok())
      return s;
    for (Datum &d : outputs) // the arena goes with the run
      detach(d);
  }
  return outputs;
}

Executor::Executor(const Model &model, RunOptions options)
    : engine_(std::make_unique<Engine>(model, std::move(options))) {}
Executor::~Executor() = default;
absl::StatusOr<std::vector<Datum>> Executor::run(const std::map<std::string, Datum> &inputs) {
  return engine_->run(inputs);
}
uint64_t Executor::peakBytes() const { return engine_->peak_; }

} // namespace onnxopt::exec
