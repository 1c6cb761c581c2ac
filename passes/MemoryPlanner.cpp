// Memory analysis of a straight-line graph.
#include "onnxopt/passes/MemoryPlanner.h"

namespace onnxopt {

static Dim bytesOf(const Value *v, const Inference &inference, DimContext &dims) {
  const ValueFact *f = inference.fact(v);
  if (!f || !f->type.isTensor() || !f->type.ranked || !f->type.hasElement() || !bitWidth(f->type.element))
    return Dim();
  Dim n = dims.constant(1);
  for (Dim d : f->type.dims) {
    if (!d)
      return Dim();
    n = dims.mul(n, d);
  }
  unsigned bits = bitWidth(f->type.element);
  return bits % 8 == 0 ? dims.mul(n, dims.constant(bits / 8))
                       : dims.ceilDiv(dims.mul(n, dims.constant(bits)), dims.constant(8));
}

std::vector<LiveRange> liveRanges(const Graph &graph, const Inference &inference) {
  DimContext &dims = graph.context().dims();
  std::vector<LiveRange> ranges;
  llvm::DenseMap<const Value *, size_t> at;
  unsigned position = 0;
  std::function<void(Node &)> read = [&](Node &n) {
    for (Value *v : n.operands())
      if (auto it = v ? at.find(v) : at.end(); it != at.end())
        ranges[it->second].end = position;
    for (Graph *g : n.regions()) {
      for (Node &inner : g->nodes())
        read(inner);
      read(*g->returnNode());
    }
  };
  for (Node &n : const_cast<Graph &>(graph).nodes()) {
    read(n);
    for (const auto &r : n.results()) {
      at[r.get()] = ranges.size();
      ranges.push_back({r.get(), position, position, bytesOf(r.get(), inference, dims)});
    }
    ++position;
  }
  read(*graph.returnNode());
  return ranges;
}

InplaceDecisions decideInplace(Graph &graph, Inference &inference,
                               llvm::function_ref<void(const Node &, std::string)> explain) {
  DimContext &dims = graph.context().dims();
  std::vector<LiveRange> ranges = liveRanges(graph, inference);
  llvm::DenseMap<const Value *, const LiveRange *> rangeOf;
  for (const LiveRange &r : ranges)
    rangeOf[r.value] = &r;
  InplaceDecisions decisions;
  unsigned position = 0;
  for (Node &n : graph.nodes()) {
    unsigned here = position++;
    const OpFacts *facts = n.callee() ? nullptr : factsOf(n);
    if (!facts || facts->reuse.empty())
      continue;
    llvm::SmallVector<const Value *, 2> given;
    for (const Reuse &reuse : facts->reuse) {
      if (reuse.result >= n.numResults() || !n.operand(reuse.operand))
        continue;
      const Value *result = n.result(reuse.result), *operand = n.operand(reuse.operand);
      if (decisions.count(result) || llvm::is_contained(given, operand))
        continue;
      auto it = rangeOf.find(operand);
      std::string name = "'" + operand->name().str() + "'";
      if (it == rangeOf.end()) {
        explain(n, "not in place: " + name + " is an input or a constant");
        continue;
      }
      if (it->second->end != here) {
        explain(n, "not in place: " + name + " is read later");
        continue;
      }
      Dim a = it->second->bytes, b = rangeOf[result]->bytes;
      if (!a || !b || !dims.proveEqual(a, b)) {
        explain(n, "not in place: sizes of " + name + " and the result differ or are not known");
        continue;
      }
      unsigned reads = 0;
      for (Value *v : n.operands())
        reads += v == operand;
      if (reads > 1 && reuse.kind == Reuse::Overwrite && !facts->elementwise) {
        explain(n, "not in place: " + name + " is read twice");
        continue;
      }
      decisions[result] = operand;
      given.push_back(operand);
    }
  }
  return decisions;
}

namespace {

/// Values that share one buffer, one after the other.
struct Buffer {
  unsigned begin, end;
  Dim bytes;
  llvm::SmallVector<const Value *, 2> values;
};

std::vector<Buffer> buffersOf(const Graph &graph, const Inference &inference, const InplaceDecisions &inplace) {
  std::vector<Buffer> buffers;
  llvm::DenseMap<const Value *, size_t> bufferOf;
  for (const LiveRange &r : liveRanges(graph, inference)) {
    auto donor = inplace.find(r.value);
    if (donor != inplace.end()) {
      auto it = bufferOf.find(donor->second);
      if (it != bufferOf.end()) {
        Buffer &b = buffers[it->second];
        b.end = r.end;
        b.values.push_back(r.value);
        bufferOf[r.value] = it->second;
        continue;
      }
    }
    bufferOf[r.value] = buffers.size();
    buffers.push_back({r.begin, r.end, r.bytes, {r.value}});
  }
  return buffers;
}

} // namespace

Dim peakBytes(const Graph &graph, const Inference &inference, const InplaceDecisions &inplace, unsigned &unknown) {
  DimContext &dims = graph.context().dims();
  unknown = 0;
  std::vector<std::pair<unsigned, std::pair<bool, Dim>>> events;
  for (const Buffer &b : buffersOf(graph, inference, inplace)) {
    if (!b.bytes) {
      ++unknown;
      continue;
    }
    events.push_back({b.begin, {true, b.bytes}});
    events.push_back({b.end + 1, {false, b.bytes}});
  }
  // Deaths before births at the same place: the operands of a node live until it is done, as `end + 1` says.
  llvm::stable_sort(events, [](const auto &a, const auto &b) {
    return a.first != b.first ? a.first < b.first : !a.second.first && b.second.first;
  });
  Dim live = dims.constant(0), peak = dims.constant(0);
  for (size_t i = 0; i < events.size(); ++i) {
    live = events[i].second.first ? dims.add(live, events[i].second.second) : dims.sub(live, events[i].second.second);
    bool last = i + 1 == events.size() || events[i + 1].first != events[i].first;
    if (last)
      peak = dims.max(peak, live);
  }
  return peak;
}

MemoryPlan planMemory(const Graph &graph, const Inference &inference, const InplaceDecisions &inplace,
                      const DimBindings &bindings) {
  constexpr uint64_t align = 64;
  struct Placed {
    const Buffer *buffer;
    uint64_t size, offset;
  };
  std::vector<Buffer> buffers = buffersOf(graph, inference, inplace);
  std::vector<Placed> todo, placed;
  for (const Buffer &b : buffers) {
    auto size = b.bytes ? graph.context().dims().evaluate(b.bytes, bindings) : std::nullopt;
    if (!size || *size < 0)
      continue; // not planned: it lives on the heap
    todo.push_back({&b, uint64_t(*size), 0});
  }
  llvm::stable_sort(todo, [](const Placed &a, const Placed &b) { return a.size > b.size; });
  MemoryPlan plan;
  for (Placed &p : todo) {
    std::vector<const Placed *> neighbours;
    for (const Placed &q : placed)
      if (q.buffer->begin <= p.buffer->end && p.buffer->begin <= q.buffer->end)
        neighbours.push_back(&q);
    llvm::sort(neighbours, [](const Placed *a, const Placed *b) { return a->offset < b->offset; });
    uint64_t offset = 0;
    for (const Placed *q : neighbours) {
      if (offset + p.size <= q->offset)
        break;
      offset = std::max(offset, (q->offset + q->size + align - 1) / align * align);
    }
    p.offset = offset;
    placed.push_back(p);
    plan.arenaSize = std::max(plan.arenaSize, offset + p.size);
    const Value *previous = nullptr;
    for (const Value *v : p.buffer->values) {
      plan.slots[v] = {offset, p.size, previous};
      previous = v;
    }
  }
  return plan;
}

} // namespace onnxopt
