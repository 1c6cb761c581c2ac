// A memory plan: where each intermediate value of the main graph lives in one arena.
#pragma once

#include "onnxopt/ir/Graph.h"

namespace onnxopt {

/// Offsets for one binding of the symbolic dims. Produced by passes/, checked and executed by exec/.
struct MemoryPlan {
  struct Slot {
    uint64_t offset = 0, size = 0;
    /// The value whose memory this one takes over (in-place), or null.
    const Value *donor = nullptr;
  };
  llvm::DenseMap<const Value *, Slot> slots;
  uint64_t arenaSize = 0;
};

} // namespace onnxopt
