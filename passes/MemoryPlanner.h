// Live ranges, in-place decisions and arena offsets of a main graph's intermediate values.
#pragma once

#include "onnxopt/exec/MemoryPlan.h"
#include "onnxopt/ops/Inference.h"

namespace onnxopt {

/// One intermediate value: defined by node `begin`, last read by node `end` (positions in the main graph; reads inside
/// bodies count for the node that has the body). Outputs live to the end.
struct LiveRange {
  const Value *value;
  unsigned begin, end;
  Dim bytes; ///< null when the size or type is not known
};
std::vector<LiveRange> liveRanges(const Graph &graph, const Inference &inference);

/// Result -> operand whose memory it takes over.
using InplaceDecisions = llvm::DenseMap<const Value *, const Value *>;
/// A result takes over an operand that the operator may overwrite or view, when that operand dies there, is an
/// intermediate value of the same graph and has provably as many bytes. `explain` hears of each refusal.
InplaceDecisions decideInplace(Graph &graph, Inference &inference,
                               llvm::function_ref<void(const Node &, std::string)> explain);

/// Largest total of live bytes over all nodes; inputs and constants are not counted. Values of unknown size are left
/// out and counted in `unknown`.
Dim peakBytes(const Graph &graph, const Inference &inference, const InplaceDecisions &inplace, unsigned &unknown);

/// Offsets for one binding of the symbols: larger buffers first, each at the lowest place free over its whole life.
MemoryPlan planMemory(const Graph &graph, const Inference &inference, const InplaceDecisions &inplace,
                      const DimBindings &bindings);

} // namespace onnxopt
