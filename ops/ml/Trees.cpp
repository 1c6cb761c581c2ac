// Ensembles of decision trees.
#include "onnxopt/ops/ml/Scores.h"
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cmath>
#include <map>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::ml;
using namespace onnxopt::rules;

namespace {
enum class Mode : uint8_t { Leq, Lt, Gte, Gt, Eq, Neq, Member, Leaf };

/// The comparison at a node. A missing value (NaN) goes where the node says, whatever the comparison.
bool takesTrueBranch(Mode mode, double value, double split, llvm::ArrayRef<double> members, bool missingIsTrue) {
  if (std::isnan(value))
    return missingIsTrue;
  switch (mode) {
  case Mode::Leq:
    return value <= split;
  case Mode::Lt:
    return value < split;
  case Mode::Gte:
    return value >= split;
  case Mode::Gt:
    return value > split;
  case Mode::Eq:
    return value == split;
  case Mode::Neq:
    return value != split;
  case Mode::Member:
    return llvm::is_contained(members, value);
  case Mode::Leaf:
    break;
  }
  return false;
}

/// The numbers of a list attribute in one of its two forms, floats or (NAME_as_tensor) a tensor of them.
std::vector<double> numbers(const NodeView &node, const std::string &name) {
  std::vector<double> out;
  if (auto t = node.getTensor(name + "_as_tensor")) {
    if (auto read = t->read(); read.ok())
      for (int64_t i = 0; i < read->size(); ++i)
        out.push_back(read->floatAt(i));
    return out;
  }
  const std::vector<float> f = node.getFloats(name);
  return {f.begin(), f.end()};
}

enum class Aggregate : uint8_t { Average, Sum, Min, Max };

/// Trees whose leaves vote for targets.
class Forest {
public:
  /// Of TreeEnsembleClassifier and TreeEnsembleRegressor, where each node names its tree, itself and its children by
  /// numbers. `votes` is "class" or "target", the first word of the attributes of votes.
  static absl::StatusOr<Forest> ofNumbered(const EvalContext &ctx, const std::string &votes, int64_t targets,
                                           int64_t features) {
    Forest f(targets);
    const std::vector<int64_t> trees = ctx.getInts("nodes_treeids"), ids = ctx.getInts("nodes_nodeids"),
                               feature = ctx.getInts("nodes_featureids"), yes = ctx.getInts("nodes_truenodeids"),
                               no = ctx.getInts("nodes_falsenodeids"),
                               missing = ctx.getInts("nodes_missing_value_tracks_true");
    const std::vector<std::string> modes = ctx.getStrings("nodes_modes");
    const std::vector<double> splits = numbers(ctx, "nodes_values");
    const size_t n = ids.size();
    if (trees.size() != n || feature.size() != n || yes.size() != n || no.size() != n || modes.size() != n ||
        splits.size() != n || (!missing.empty() && missing.size() != n))
      return invalid(ctx, "the attributes of the nodes differ in length");
    std::map<std::pair<int64_t, int64_t>, size_t> at;
    for (size_t i = 0; i < n; ++i) {
      if (!at.try_emplace({trees[i], ids[i]}, i).second)
        return invalid(ctx,
                       "node " + std::to_string(ids[i]) + " of tree " + std::to_string(trees[i]) + " is there twice");
      if (!i || trees[i] != trees[i - 1])
        if (llvm::none_of(f.roots_, [&](size_t r) { return trees[r] == trees[i]; }))
          f.roots_.push_back(i);
    }
    const llvm::StringRef names[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"};
    for (size_t i = 0; i < n; ++i) {
      Node node{.split = splits[i], .missingIsTrue = !missing.empty() && missing[i] != 0};
      if (modes[i] != "LEAF") {
        const auto *mode = llvm::find(names, modes[i]);
        const auto t = at.find({trees[i], yes[i]}), e = at.find({trees[i], no[i]});
        if (mode == std::end(names))
          return invalid(ctx, "a node's mode is '" + modes[i] + "'");
        if (t == at.end() || e == at.end() || feature[i] < 0 || feature[i] >= features)
          return invalid(ctx, "node " + std::to_string(ids[i]) + " of tree " + std::to_string(trees[i]) +
                                  " has a child or a feature that is not there");
        node.mode = Mode(mode - names);
        node.feature = feature[i];
        node.yes = t->second;
        node.no = e->second;
      }
      f.nodes_.push_back(std::move(node));
    }
    const std::vector<int64_t> voters = ctx.getInts(votes + "_nodeids"), voterTrees = ctx.getInts(votes + "_treeids"),
                               voted = ctx.getInts(votes + "_ids");
    const std::vector<double> weights = numbers(ctx, votes + "_weights");
    if (voterTrees.size() != voters.size() || voted.size() != voters.size() || weights.size() != voters.size())
      return invalid(ctx, "the attributes of the votes differ in length");
    for (size_t i = 0; i < voters.size(); ++i) {
      const auto leaf = at.find({voterTrees[i], voters[i]});
      if (leaf == at.end() || voted[i] < 0 || voted[i] >= targets)
        return invalid(ctx, "a vote is of a node that is not there, or for a target that is not");
      f.nodes_[leaf->second].votes.push_back({voted[i], weights[i]});
    }
    return f;
  }

  /// Of TreeEnsemble-5: arrays of nodes and of leaves, and the places in them of roots and children.
  static absl::StatusOr<Forest> ofArrays(const EvalContext &ctx, int64_t targets) {
    Forest f(targets);
    auto read = [&](llvm::StringRef name) -> std::optional<Tensor> {
      auto t = ctx.getTensor(name);
      if (!t)
        return std::nullopt;
      auto r = t->read();
      return r.ok() ? std::optional(*r) : std::nullopt;
    };
    auto modes = read("nodes_modes"), splits = read("nodes_splits"), weights = read("leaf_weights"),
         members = read("membership_values");
    const std::vector<int64_t> roots = ctx.getInts("tree_roots"), features = ctx.getInts("nodes_featureids"),
                               yes = ctx.getInts("nodes_truenodeids"), no = ctx.getInts("nodes_falsenodeids"),
                               yesIsLeaf = ctx.getInts("nodes_trueleafs"), noIsLeaf = ctx.getInts("nodes_falseleafs"),
                               voted = ctx.getInts("leaf_targetids"),
                               missing = ctx.getInts("nodes_missing_value_tracks_true");
    const size_t n = features.size();
    if (!modes || !splits || !weights || size_t(modes->size()) != n || yes.size() != n || no.size() != n ||
        yesIsLeaf.size() != n || noIsLeaf.size() != n || size_t(splits->size()) != n)
      return invalid(ctx, "the tree's arrays differ in length");
    const size_t leaves = std::min(voted.size(), size_t(weights->size()));
    // Leaves follow the nodes; what is not there is beyond all of them.
    auto place = [&](int64_t at, bool isLeaf) {
      return at < 0 || size_t(at) >= (isLeaf ? leaves : n) ? n + leaves : isLeaf ? n + size_t(at) : size_t(at);
    };
    for (int64_t root : roots)
      f.roots_.push_back(place(root, false));
    for (size_t i = 0; i < n; ++i) {
      const int64_t mode = modes->intAt(i);
      if (mode < 0 || mode >= int64_t(Mode::Leaf))
        return invalid(ctx, "a node's mode is " + std::to_string(mode) + ", 0 to 6 is expected");
      f.nodes_.push_back({.mode = Mode(mode),
                          .feature = features[i],
                          .split = splits->floatAt(i),
                          .missingIsTrue = i < missing.size() && missing[i],
                          .yes = place(yes[i], yesIsLeaf[i]),
                          .no = place(no[i], noIsLeaf[i])});
    }
    // Values of set membership nodes, one run a node, separated by NaN.
    for (size_t i = 0, node = 0; members && i < size_t(members->size()); ++i) {
      while (node < n && f.nodes_[node].mode != Mode::Member)
        ++node;
      const double v = members->floatAt(i);
      if (std::isnan(v))
        ++node;
      else if (node < n)
        f.nodes_[node].members.push_back(v);
    }
    for (size_t i = 0; i < leaves; ++i)
      f.nodes_.push_back({.votes = {{voted[i], weights->floatAt(i)}}});
    return f;
  }

  /// What the leaves that a row of features leads to say together of each target; nullopt where none votes for it.
  absl::StatusOr<llvm::SmallVector<std::optional<double>, 8>> votes(const EvalContext &ctx, const Scoring &scoring,
                                                                    int64_t row, Aggregate how) const {
    llvm::SmallVector<std::optional<double>, 8> found(targets_);
    for (size_t at : roots_) {
      for (size_t steps = 0;; ++steps) {
        if (steps > nodes_.size() || at >= nodes_.size())
          return invalid(ctx, "a tree leads out of its nodes, or round in a ring");
        const Node &n = nodes_[at];
        if (n.mode == Mode::Leaf)
          break;
        if (n.feature < 0 || n.feature >= scoring.features)
          return invalid(ctx, "a node compares feature " + std::to_string(n.feature) + " of " +
                                  std::to_string(scoring.features));
        const double value = ctx.in(0).floatAt(row * scoring.features + n.feature);
        at = takesTrueBranch(n.mode, value, n.split, n.members, n.missingIsTrue) ? n.yes : n.no;
      }
      for (const Vote &v : nodes_[at].votes) {
        if (v.target < 0 || v.target >= targets_)
          return invalid(ctx,
                         "a leaf votes for target " + std::to_string(v.target) + " of " + std::to_string(targets_));
        std::optional<double> &s = found[v.target];
        s = !s                      ? v.weight
            : how == Aggregate::Min ? std::min(*s, v.weight)
            : how == Aggregate::Max ? std::max(*s, v.weight)
                                    : *s + v.weight;
      }
    }
    if (how == Aggregate::Average)
      for (std::optional<double> &s : found)
        if (s)
          *s /= double(roots_.size());
    return found;
  }

private:
  explicit Forest(int64_t targets) : targets_(targets) {}
  struct Vote {
    int64_t target;
    double weight;
  };
  struct Node {
    Mode mode = Mode::Leaf;
    int64_t feature = 0;
    double split = 0;
    bool missingIsTrue = false;
    size_t yes = 0, no = 0;
    std::vector<double> members = {};
    std::vector<Vote> votes = {};
  };
  int64_t targets_;
  std::vector<Node> nodes_;
  std::vector<size_t> roots_;
};

/// Result 0: what the forest says of each target of each row, plus the base values.
absl::Status regressByVotes(EvalContext &ctx, const Scoring &scoring, ElementType type, const Forest &forest,
                            int64_t targets, Aggregate how, llvm::ArrayRef<double> base) {
  return regress(ctx, scoring, type, targets, [&](int64_t row, Scores &scores) {
    auto votes = forest.votes(ctx, scoring, row, how);
    if (votes.ok())
      for (auto [t, v] : llvm::enumerate(*votes))
        scores.push_back(v.value_or(0) + (base.empty() ? 0 : base[t]));
    return votes.status();
  });
}
} // namespace

static absl::Status evalTreeEnsemble(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() != 2)
    return invalid(ctx, "needs rank 2");
  const int64_t n = ctx.getInt("n_targets"), how = ctx.getInt("aggregate_function", 1),
                post = ctx.getInt("post_transform", 0);
  if (n <= 0)
    return invalid(ctx, "attribute 'n_targets' is " + std::to_string(n));
  if (post < 0 || post > int64_t(PostTransform::Probit) || how < 0 || how > int64_t(Aggregate::Max))
    return invalid(ctx, "attribute 'post_transform' or 'aggregate_function' is out of range");
  auto forest = Forest::ofArrays(ctx, n);
  if (!forest.ok())
    return forest.status();
  const Scoring scoring{x.dim(0), x.dim(1), PostTransform(post)};
  return regressByVotes(ctx, scoring, x.type(), *forest, n, Aggregate(how), {});
}
static void inferTreeEnsemble(InferContext &ctx) {
  // One element for each node in the lists of nodes, one for each leaf in those of leaves.
  auto counts = [&](llvm::StringRef name, llvm::StringRef first) {
    const size_t want = ctx.getInts(first).size();
    const auto tensor = ctx.getTensor(name);
    const size_t have = tensor ? size_t(elementCount(tensor->dims).value_or(0)) : ctx.getInts(name).size();
    if ((tensor || ctx.hasAttribute(name)) && have != want)
      ctx.fail("attribute '" + name.str() + "' has " + std::to_string(have) + " elements, '" + first.str() + "' has " +
               std::to_string(want));
  };
  for (const char *name : {"nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs",
                           "nodes_splits", "nodes_modes"})
    counts(name, "nodes_featureids");
  counts("leaf_weights", "leaf_targetids");
  Dim rows = ctx.isRanked(0) && ctx.rank(0) == 2 ? ctx.shape(0)[0] : ctx.freshDim();
  ctx.setTensor(0, elementOr(ctx, 0), {rows, ctx.constantDim(ctx.getInt("n_targets"))});
}
ONNXOPT_DEFINE_ML_OP(TreeEnsemble) {
  op.since(5, {.infer = inferTreeEnsemble, .eval = evalTreeEnsemble}).ranks({{0, 2}});
}

static absl::Status evalTreeEnsembleRegressor(EvalContext &ctx) {
  auto scoring = Scoring::of(ctx);
  if (!scoring.ok())
    return scoring.status();
  const int64_t n = ctx.getInt("n_targets", 1);
  if (n < 1)
    return invalid(ctx, "attribute 'n_targets' is " + std::to_string(n));
  auto forest = Forest::ofNumbered(ctx, "target", n, scoring->features);
  if (!forest.ok())
    return forest.status();
  const std::vector<double> base = numbers(ctx, "base_values");
  if (!base.empty() && base.size() != size_t(n))
    return invalid(ctx, std::to_string(base.size()) + " base values for " + std::to_string(n) + " targets");
  const std::string name = ctx.getString("aggregate_function", "SUM");
  const Aggregate how = name == "AVERAGE" ? Aggregate::Average
                        : name == "MIN"   ? Aggregate::Min
                        : name == "MAX"   ? Aggregate::Max
                                          : Aggregate::Sum;
  return regressByVotes(ctx, *scoring, ElementType::Float, *forest, n, how, base);
}
static void inferTreeEnsembleRegressor(InferContext &ctx) {
  const std::string aggregate = ctx.getString("aggregate_function", "SUM");
  if (aggregate != "SUM" && aggregate != "AVERAGE" && aggregate != "MIN" && aggregate != "MAX")
    return ctx.fail("attribute 'aggregate_function' is '" + aggregate + "', AVERAGE, SUM, MIN or MAX is expected");
  inferRegressor(ctx, ctx.getInt("n_targets", 1));
}
ONNXOPT_DEFINE_ML_OP(TreeEnsembleRegressor) {
  op.since(1, {.infer = inferTreeEnsembleRegressor, .eval = evalTreeEnsembleRegressor, .storage = Storage::Native});
}

/// The class and the scores of one row, from the sum of the votes for each class (none where no leaf voted for it).
/// `oneVoted`: of two classes only one ever has votes, and they tell the two apart. The standard leaves that to
/// implementations; this is what onnxruntime does.
static Verdict verdictOf(llvm::ArrayRef<std::optional<double>> votes, llvm::ArrayRef<double> base, bool oneVoted,
                         bool allPositive, Scores &scores) {
  for (auto [k, v] : llvm::enumerate(votes))
    scores.push_back(v.value_or(0) + (k < base.size() ? base[k] : 0));
  if (!oneVoted)
    return {largest(scores)};
  if (!votes[1] && base.size() == 2) {
    scores[1] = base[1] + votes[0].value_or(0);
    scores[0] = -scores[1];
  } else if (!votes[1]) {
    scores.pop_back();
  }
  return {scores.back() > (allPositive ? 0.5 : 0), allPositive ? OtherClass::Remainder : OtherClass::Opposite};
}

static absl::Status evalTreeEnsembleClassifier(EvalContext &ctx) {
  auto scoring = Scoring::of(ctx);
  if (!scoring.ok())
    return scoring.status();
  const Labels classes(ctx, "classlabels_int64s", "classlabels_strings");
  const int64_t n = classes.size();
  auto forest = Forest::ofNumbered(ctx, "class", n, scoring->features);
  if (!forest.ok())
    return forest.status();
  const std::vector<double> base = numbers(ctx, "base_values"), weights = numbers(ctx, "class_weights");
  if (base.size() > size_t(n))
    return invalid(ctx, std::to_string(base.size()) + " base values for " + std::to_string(n) + " classes");
  const std::vector<int64_t> ids = ctx.getInts("class_ids");
  const bool oneVoted = n == 2 && !ids.empty() && llvm::all_equal(ids);
  const bool allPositive = llvm::all_of(weights, [](double w) { return w >= 0; });
  return classify(ctx, *scoring, classes, n, [&](int64_t row, Scores &scores) -> absl::StatusOr<Verdict> {
    auto votes = forest->votes(ctx, *scoring, row, Aggregate::Sum);
    if (!votes.ok())
      return votes.status();
    return verdictOf(*votes, base, oneVoted, allPositive, scores);
  });
}
static void inferTreeEnsembleClassifier(InferContext &ctx) {
  if (!checkLabels(ctx, "classlabels_int64s", "classlabels_strings"))
    return;
  const Labels classes(ctx, "classlabels_int64s", "classlabels_strings");
  inferClassifier(ctx, classes, ctx.constantDim(classes.size()));
}
ONNXOPT_DEFINE_ML_OP(TreeEnsembleClassifier) {
  op.since(1, {.infer = inferTreeEnsembleClassifier, .eval = evalTreeEnsembleClassifier, .storage = Storage::Native});
}
