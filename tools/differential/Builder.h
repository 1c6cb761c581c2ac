// Building a random model node by node, each of them run before it stays.
#pragma once

#include "onnxopt/exec/Executor.h"

#include <random>
#include <set>

namespace onnxopt::differential {

/// A model, and inputs on which it runs.
struct Example {
  std::unique_ptr<Model> model;
  std::map<std::string, Datum> inputs;
  /// Outputs that a legal reordering of float operations may move by rounding. All others must stay bit for bit.
  std::set<std::string> inexact;
  /// Outputs that jump when another value moves by rounding (a comparison, an index of the largest). Not compared
  /// where rounding may differ.
  std::set<std::string> fragile;
  /// Outputs that the standard leaves open: random draws, unsorted results, whole numbers made of NaN or of what they
  /// cannot hold. Other runtimes may differ there.
  std::set<std::string> open;
  /// What values of the main graph hold, where a run would crash before it could tell.
  std::map<std::string, Datum> recorded;
};

/// Seeded numbers that are the same on every machine.
class Random {
public:
  explicit Random(uint64_t seed) : engine_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  /// 0 .. n - 1; 0 for n = 0.
  uint64_t below(uint64_t n) { return n ? engine_() % n : 0; }
  int64_t between(int64_t lo, int64_t hi) { return lo + int64_t(below(uint64_t(hi - lo + 1))); }
  bool chance(unsigned percent) { return below(100) < percent; }
  template <typename C> auto &pick(C &c) { return c[below(c.size())]; }

private:
  std::mt19937_64 engine_;
};

/// A model under construction: its values with what they hold.
class Builder {
public:
  struct Known {
    Value *value;
    Datum datum;
    bool inexact = false, fragile = false, open = false; ///< as of Example's outputs
  };

  Builder(Context &context, uint64_t seed, int64_t opset);
  Random random;
  std::unique_ptr<Model> model;
  std::vector<Known> pool;
  Context &context() const { return context_; }
  Graph &graph() const { return model->graph(); }
  int64_t opset() const { return opset_; }
  /// Imports `domain`; false where another version of it is imported already.
  bool require(llvm::StringRef domain, int64_t version);

  /// A value that holds `t`: an input, an input with a default, an initializer or a Constant.
  Known &leaf(Tensor t, bool constant = false);
  Tensor tensor(ElementType type, llvm::ArrayRef<int64_t> dims);
  /// Rank 0 to 5, at most 256 elements, a size of 0 now and then.
  Dims shape();
  llvm::StringRef freshName(llvm::StringRef stem);

  /// The nodes of the main graph from `first` to the end stay when the verifier finds nothing and the model runs; their
  /// results join the pool. Else they are erased, and `why` says what stood against them.
  bool keep(Node *first, std::string &why);
  /// Forgets leaves that no node came to use.
  void dropLeaves();
  void settle() { settled_ = pool.size(); }
  /// Runs the model as it stands; every value of the pool must hold what it held.
  absl::Status rerun();
  /// Declares outputs: all values that nobody uses, and some others.
  Example finish();
  /// Hears of each trial by its number. Where it says no, the trial is left out and `stopped` holds from then on.
  std::function<bool(unsigned)> beforeTrial;
  /// Says that what follows may crash; false where it must not be tried.
  bool announce();
  bool stopped() const { return stopped_; }
  /// The model as the trial that was left out would have run it.
  Example abandon();

private:
  absl::Status run(llvm::DenseMap<const Value *, Datum> &seen);
  void classify(const Node &n, const llvm::DenseMap<const Value *, Datum> &seen);
  Context &context_;
  int64_t opset_;
  unsigned names_ = 0, trials_ = 0;
  size_t settled_ = 0; ///< values of the pool before it are there to stay
  bool stopped_ = false;
  std::map<std::string, Datum> inputs_;
  std::map<int64_t, std::vector<std::string>> symbols_;
};

/// Same kind, type, dims and bytes; NaNs are equal to each other.
bool sameBits(const Datum &a, const Datum &b);

/// Whether `v` has an optional type, which its datum does not tell.
bool isOptional(const Value *v);

} // namespace onnxopt::differential
