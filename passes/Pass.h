// Passes: what they are, what they may ask for, and how they report.
#pragma once

#include "onnxopt/ir/Rewriter.h"
#include "onnxopt/ops/Inference.h"

#include <map>

namespace onnxopt {

/// Options of one pass in a pipeline, `fuse{calls=false}`.
using PassOptions = std::map<std::string, std::string>;

/// Shared by the passes of one run.
class PassContext {
public:
  explicit PassContext(Model &model) : model_(model) {}
  /// Facts of the model as it stands. Computed on first use after a change.
  Inference &inference();
  void invalidate() { inference_.reset(); }
  /// Says why something was or was not done; printed by --remarks.
  void remark(llvm::StringRef pass, const std::string &path, std::string text) {
    remarks.push_back({pass.str(), path, std::move(text)});
  }
  void count(llvm::StringRef pass, llvm::StringRef what, uint64_t n = 1) { statistics[pass.str()][what.str()] += n; }

  struct Remark {
    std::string pass, path, text;
  };
  std::vector<Remark> remarks;
  std::map<std::string, std::map<std::string, uint64_t>> statistics;

private:
  Model &model_;
  std::unique_ptr<Inference> inference_;
};

class Pass {
public:
  virtual ~Pass() = default;
  llvm::StringRef name() const { return name_; }
  /// Gives whether the model changed. The manager proves it. FailedPrecondition: what was asked for is not possible,
  /// the model is as it was. After any other error the model is not to be used.
  virtual absl::StatusOr<bool> run(Model &model, PassContext &ctx) = 0;

protected:
  friend class PassRegistry;
  std::string option(const std::string &key, std::string otherwise = "") const {
    auto it = options_.find(key);
    return it == options_.end() ? otherwise : it->second;
  }
  std::string name_;
  PassOptions options_;
};

/// Passes by name. The constructor holds all of this library; tools add their own.
class PassRegistry {
public:
  PassRegistry();
  struct Entry {
    std::string name, description, options; ///< options: "key=default: meaning" lines
    std::function<std::unique_ptr<Pass>()> make;
  };
  void add(Entry entry) { entries_[entry.name] = std::move(entry); }
  const std::map<std::string, Entry> &entries() const { return entries_; }
  absl::StatusOr<std::unique_ptr<Pass>> create(const std::string &name, const PassOptions &options) const;

private:
  std::map<std::string, Entry> entries_;
};

#define ONNXOPT_PASS_LIST(X)                                                                                           \
  X(ShapeInfer)                                                                                                        \
  X(ConvertOpset)                                                                                                      \
  X(Canonicalize) X(Fold) X(Cse) X(Dce) X(InlineFunctions) X(Flatten) X(Fuse) X(Inplace) X(LegalizeOutputs)
#define ONNXOPT_DECLARE_PASS(name) PassRegistry::Entry make##name##Entry();
ONNXOPT_PASS_LIST(ONNXOPT_DECLARE_PASS)
#undef ONNXOPT_DECLARE_PASS

} // namespace onnxopt
