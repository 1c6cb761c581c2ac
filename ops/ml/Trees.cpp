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
} // namespace

// TreeEnsemble-5: nodes and leaves in parallel arrays

static absl::Status evalTreeEnsemble(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() != 2)
    return invalid(ctx, "needs rank 2");
  auto read = [&](llvm::StringRef name) -> std::optional<Tensor> {
    auto t = ctx.getTensor(name);
    if (!t)
      return std::nullopt;
    auto r = t->read();
    return r.ok() ? std::optional(*r) : std::nullopt;
  };
  auto modes = read("nodes_modes"), splits = read("nodes_splits"), weights = read("leaf_weights"),
       members = read("membership_values");
  std::vector<int64_t> roots = ctx.getInts("tree_roots"), features = ctx.getInts("nodes_featureids"),
                       trueIds = ctx.getInts("nodes_truenodeids"), falseIds = ctx.getInts("nodes_falsenodeids"),
                       trueLeafs = ctx.getInts("nodes_trueleafs"), falseLeafs = ctx.getInts("nodes_falseleafs"),
                       targets = ctx.getInts("leaf_targetids"),
                       missing = ctx.getInts("nodes_missing_value_tracks_true");
  int64_t n = ctx.getInt("n_targets"), aggregate = ctx.getInt("aggregate_function", 1),
          post = ctx.getInt("post_transform", 0);
  size_t nodes = features.size();
  if (!modes || !splits || !weights || n <= 0 || size_t(modes->size()) != nodes || trueIds.size() != nodes ||
      falseIds.size() != nodes || trueLeafs.size() != nodes || falseLeafs.size() != nodes ||
      size_t(splits->size()) != nodes)
    return invalid(ctx, "the tree's arrays differ in length");
  if (post < 0 || post > 4 || aggregate < 0 || aggregate > 3)
    return invalid(ctx, "attribute 'post_transform' or 'aggregate_function' is out of range");
  const PostTransform transforms[] = {PostTransform::None, PostTransform::Softmax, PostTransform::Logistic,
                                      PostTransform::SoftmaxZero, PostTransform::Probit};
  // Values of set membership nodes, one run a node, separated by NaN.
  std::vector<std::vector<double>> sets(nodes);
  if (members)
    for (int64_t i = 0, node = 0; i < members->size(); ++i) {
      while (node < int64_t(nodes) && modes->intAt(node) != 6)
        ++node;
      double v = members->floatAt(i);
      if (std::isnan(v))
        ++node;
      else if (node < int64_t(nodes))
        sets[node].push_back(v);
    }
  ONNXOPT_ASSIGN(y, ctx.allocate(x.type(), {x.dim(0), n}));
  for (int64_t r = 0; r < x.dim(0); ++r) {
    std::vector<double> sum(n, 0);
    std::vector<int64_t> hits(n, 0);
    for (int64_t root : roots) {
      int64_t at = root;
      bool leaf = false;
      for (size_t guard = 0; !leaf; ++guard) {
        if (guard > nodes || at < 0 || at >= int64_t(nodes) || features[at] < 0 || features[at] >= x.dim(1))
          return invalid(ctx, "the tree leads out of its arrays");
        double v = x.floatAt(r * x.dim(1) + features[at]), s = splits->floatAt(at);
        if (modes->intAt(at) < 0 || modes->intAt(at) > 6)
          return invalid(ctx, "a node's mode is " + std::to_string(modes->intAt(at)) + ", 0 to 6 is expected");
        const bool yes =
            takesTrueBranch(Mode(modes->intAt(at)), v, s, sets[at], size_t(at) < missing.size() && missing[at]);
        leaf = yes ? trueLeafs[at] : falseLeafs[at];
        at = yes ? trueIds[at] : falseIds[at];
      }
      if (at < 0 || at >= weights->size() || size_t(at) >= targets.size() || targets[at] < 0 || targets[at] >= n)
        return invalid(ctx, "a leaf is out of range");
      double w = weights->floatAt(at);
      int64_t t = targets[at];
      sum[t] = aggregate < 2 || !hits[t] ? sum[t] + w : aggregate == 2 ? std::min(sum[t], w) : std::max(sum[t], w);
      ++hits[t];
    }
    llvm::SmallVector<double, 8> scores(sum.begin(), sum.end());
    for (double &v : scores)
      v /= aggregate == 0 ? double(std::max<size_t>(1, roots.size())) : 1;
    transformScores(scores, transforms[post], OtherClass::Absent);
    for (int64_t t = 0; t < n; ++t)
      dispatchFloat(y.type(), [&](auto tag) { y.mutableData<typename decltype(tag)::type>()[r * n + t] = scores[t]; });
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
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

// TreeEnsembleClassifier and TreeEnsembleRegressor: each node names its tree, itself and its children by numbers

namespace {
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

/// The trees of a node, and what each leaf votes for: `votes` is "class" or "target", the first word of its attributes.
class Forest {
public:
  struct Vote {
    int64_t target;
    double weight;
  };
  static absl::StatusOr<Forest> of(const EvalContext &ctx, const std::string &votes, int64_t targets,
                                   int64_t features) {
    Forest f;
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
      Node node{Mode::Leaf, 0, splits[i], !missing.empty() && missing[i], 0, 0, {}};
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
  size_t size() const { return roots_.size(); }
  /// Calls `vote` for each vote of the leaves that a row of features leads to.
  absl::Status forEachVote(EvalContext &ctx, const Tensor &x, int64_t first,
                           llvm::function_ref<void(Vote)> vote) const {
    for (size_t at : roots_) {
      for (size_t steps = 0; nodes_[at].mode != Mode::Leaf; ++steps) {
        if (steps > nodes_.size())
          return invalid(ctx, "a tree's nodes form a ring");
        const Node &n = nodes_[at];
        at = takesTrueBranch(n.mode, x.floatAt(first + n.feature), n.split, {}, n.missingIsTrue) ? n.yes : n.no;
      }
      llvm::for_each(nodes_[at].votes, vote);
    }
    return absl::OkStatus();
  }

private:
  struct Node {
    Mode mode;
    int64_t feature;
    double split;
    bool missingIsTrue;
    size_t yes, no;
    std::vector<Vote> votes;
  };
  std::vector<Node> nodes_;
  std::vector<size_t> roots_;
};
} // namespace

static absl::Status evalTreeEnsembleRegressor(EvalContext &ctx) {
  auto rows = rowsOf(ctx);
  auto transform = postTransformOf(ctx);
  if (!rows.ok() || !transform.ok())
    return rows.ok() ? transform.status() : rows.status();
  const int64_t n = ctx.getInt("n_targets", 1);
  if (n < 1)
    return invalid(ctx, "attribute 'n_targets' is " + std::to_string(n));
  auto forest = Forest::of(ctx, "target", n, rows->features);
  if (!forest.ok())
    return forest.status();
  const std::string aggregate = ctx.getString("aggregate_function", "SUM");
  const std::vector<double> base = numbers(ctx, "base_values");
  if (!base.empty() && base.size() != size_t(n))
    return invalid(ctx, std::to_string(base.size()) + " base values for " + std::to_string(n) + " targets");
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, {rows->count, n}));
  for (int64_t r = 0; r < rows->count; ++r) {
    llvm::SmallVector<std::optional<double>, 8> found(n);
    auto vote = [&](Forest::Vote v) {
      std::optional<double> &s = found[v.target];
      s = !s                   ? v.weight
          : aggregate == "MIN" ? std::min(*s, v.weight)
          : aggregate == "MAX" ? std::max(*s, v.weight)
                               : *s + v.weight;
    };
    if (absl::Status s = forest->forEachVote(ctx, ctx.in(0), r * rows->features, vote); !s.ok())
      return s;
    llvm::SmallVector<double, 8> scores;
    for (int64_t t = 0; t < n; ++t)
      scores.push_back(found[t].value_or(0) / (aggregate == "AVERAGE" ? double(forest->size()) : 1) +
                       (base.empty() ? 0 : base[t]));
    transformScores(scores, *transform, OtherClass::Absent);
    std::copy(scores.begin(), scores.end(), y.mutableData<float>() + r * n);
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferTreeEnsembleRegressor(InferContext &ctx) {
  const std::string aggregate = ctx.getString("aggregate_function", "SUM");
  if (aggregate != "SUM" && aggregate != "AVERAGE" && aggregate != "MIN" && aggregate != "MAX")
    return ctx.fail("attribute 'aggregate_function' is '" + aggregate + "', AVERAGE, SUM, MIN or MAX is expected");
  ctx.setTensor(0, ElementType::Float, {rowsOf(ctx), ctx.constantDim(ctx.getInt("n_targets", 1))});
}
ONNXOPT_DEFINE_ML_OP(TreeEnsembleRegressor) {
  op.since(1, {.infer = inferTreeEnsembleRegressor, .eval = evalTreeEnsembleRegressor, .storage = Storage::Native});
}

/// The class and the scores of one row, from the sum of the votes for each class (none where no leaf voted for it).
/// `oneVoted`: of two classes only one ever has votes, and they tell the two apart. The standard leaves that to
/// implementations; this is what onnxruntime does.
static size_t classify(llvm::ArrayRef<std::optional<double>> votes, llvm::ArrayRef<double> base, bool oneVoted,
                       bool allPositive, llvm::SmallVectorImpl<double> &scores, OtherClass &other) {
  other = OtherClass::Absent;
  for (auto [k, v] : llvm::enumerate(votes))
    scores.push_back(v.value_or(0) + (k < base.size() ? base[k] : 0));
  if (!oneVoted)
    return std::max_element(scores.begin(), scores.end()) - scores.begin();
  if (!votes[1] && base.size() == 2) {
    scores[1] = base[1] + votes[0].value_or(0);
    scores[0] = -scores[1];
  } else if (!votes[1]) {
    scores.pop_back();
  }
  other = allPositive ? OtherClass::Remainder : OtherClass::Opposite;
  return scores.back() > (allPositive ? 0.5 : 0);
}

static absl::Status evalTreeEnsembleClassifier(EvalContext &ctx) {
  auto rows = rowsOf(ctx);
  auto transform = postTransformOf(ctx);
  if (!rows.ok() || !transform.ok())
    return rows.ok() ? transform.status() : rows.status();
  const ClassLabels classes(ctx, "classlabels_int64s", "classlabels_strings");
  const int64_t n = classes.size();
  auto forest = Forest::of(ctx, "class", n, rows->features);
  if (!forest.ok())
    return forest.status();
  const std::vector<double> base = numbers(ctx, "base_values"), weights = numbers(ctx, "class_weights");
  if (base.size() > size_t(n))
    return invalid(ctx, std::to_string(base.size()) + " base values for " + std::to_string(n) + " classes");
  const std::vector<int64_t> ids = ctx.getInts("class_ids");
  const bool oneVoted = n == 2 && !ids.empty() && llvm::all_equal(ids);
  const bool allPositive = llvm::all_of(weights, [](double w) { return w >= 0; });
  ONNXOPT_ASSIGN(labels, ctx.allocate(classes.type(), {rows->count}));
  ONNXOPT_ASSIGN(z, ctx.allocate(ElementType::Float, {rows->count, n}));
  for (int64_t r = 0; r < rows->count; ++r) {
    llvm::SmallVector<std::optional<double>, 8> votes(n);
    auto vote = [&](Forest::Vote v) { votes[v.target] = votes[v.target].value_or(0) + v.weight; };
    if (absl::Status s = forest->forEachVote(ctx, ctx.in(0), r * rows->features, vote); !s.ok())
      return s;
    llvm::SmallVector<double, 8> scores;
    OtherClass other;
    classes.write(classify(votes, base, oneVoted, allPositive, scores, other), labels, r);
    transformScores(scores, *transform, other);
    for (int64_t k = 0; k < n; ++k)
      z.mutableData<float>()[r * n + k] = float(k < int64_t(scores.size()) ? scores[k] : 0);
  }
  ctx.set(0, std::move(labels));
  ctx.set(1, std::move(z));
  return absl::OkStatus();
}
static void inferTreeEnsembleClassifier(InferContext &ctx) {
  if (!checkLabels(ctx, "classlabels_int64s", "classlabels_strings"))
    return;
  const ClassLabels classes(ctx, "classlabels_int64s", "classlabels_strings");
  inferClassifier(ctx, classes, ctx.constantDim(classes.size()));
}
ONNXOPT_DEFINE_ML_OP(TreeEnsembleClassifier) {
  op.since(1, {.infer = inferTreeEnsembleClassifier, .eval = evalTreeEnsembleClassifier, .storage = Storage::Native});
}
