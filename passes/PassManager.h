// Pipelines as text, and their execution with checks.
#pragma once

#include "onnxopt/passes/Pass.h"

namespace onnxopt {

/// What is done around each pass.
struct Instrumentation {
  bool verifyEach = false;
  bool proveChanged = true; ///< compare a pass's answer with a hash of what export would write
  /// Called before and after each pass; `after` gives an error to stop.
  std::function<void(const std::string &pass, Model &)> before;
  std::function<absl::Status(const std::string &pass, Model &, bool changed)> after;
};

/// `shape-infer,fixpoint(canonicalize,fold,cse,dce),fuse{calls=false}`
class PassManager {
public:
  explicit PassManager(const PassRegistry &registry) : registry_(registry) {}
  /// Errors name the place: unknown pass (with the nearest known one), unknown option, bad syntax.
  absl::Status parse(llvm::StringRef pipeline);
  absl::StatusOr<bool> run(Model &model, PassContext &ctx);
  Instrumentation instrumentation;
  struct Timing {
    std::string pass;
    double milliseconds;
    bool changed;
  };
  std::vector<Timing> timings;
  static constexpr unsigned maxRounds = 16;

private:
  struct Item {
    std::unique_ptr<Pass> pass; // or
    std::vector<Item> repeated; // fixpoint(...)
  };
  absl::Status parseList(llvm::StringRef &text, std::vector<Item> &out, unsigned depth);
  absl::StatusOr<bool> runItems(std::vector<Item> &items, Model &model, PassContext &ctx);
  absl::StatusOr<bool> runPass(Pass &pass, Model &model, PassContext &ctx);
  const PassRegistry &registry_;
  std::vector<Item> items_;
};

/// The pipelines behind -O1 and -O2.
llvm::StringRef pipelineO1();
llvm::StringRef pipelineO2();

} // namespace onnxopt
