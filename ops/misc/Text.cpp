// Strings.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#include <cctype>
#include <cmath>

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

// StringConcat

static absl::Status evalStringConcat(EvalContext &ctx) {
  const Tensor &a = ctx.in(0), &b = ctx.in(1);
  auto dims = broadcastDims(a.dims(), b.dims());
  if (!dims)
    return invalid(ctx, "operands do not broadcast");
  ONNXOPT_ASSIGN(x, broadcastTo(ctx, a, *dims));
  ONNXOPT_ASSIGN(y, broadcastTo(ctx, b, *dims));
  auto &out = y.mutableStrings();
  for (int64_t i = 0; i < x.size(); ++i)
    out[i] = x.strings()[i] + out[i];
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
ONNXOPT_DEFINE_OP(StringConcat) { op.since(20, native(broadcast, evalStringConcat)); }

// StringSplit

static absl::Status evalStringSplit(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  std::string delimiter = ctx.getString("delimiter", "");
  int64_t most = ctx.hasAttribute("maxsplit") ? ctx.getInt("maxsplit") : -1;
  std::vector<std::vector<std::string>> parts;
  size_t widest = 0;
  ONNXOPT_ASSIGN(counts, ctx.allocate(ElementType::Int64, x.dims()));
  for (int64_t i = 0; i < x.size(); ++i) {
    std::vector<std::string> p;
    llvm::StringRef rest = x.strings()[i];
    if (delimiter.empty()) { // runs of white space
      rest = rest.trim();
      while (!rest.empty()) {
        size_t end = rest.find_first_of(" \t\n\r\v\f");
        if (end == llvm::StringRef::npos || (most >= 0 && int64_t(p.size()) >= most)) {
          p.push_back(rest.str());
          break;
        }
        p.push_back(rest.take_front(end).str());
        rest = rest.drop_front(end).ltrim();
      }
    } else {
      while (true) {
        size_t end = rest.find(delimiter);
        if (end == llvm::StringRef::npos || (most >= 0 && int64_t(p.size()) >= most)) {
          p.push_back(rest.str());
          break;
        }
        p.push_back(rest.take_front(end).str());
        rest = rest.drop_front(end + delimiter.size());
      }
    }
    widest = std::max(widest, p.size());
    counts.mutableData<int64_t>()[i] = int64_t(p.size());
    parts.push_back(std::move(p));
  }
  Dims dims(x.dims().begin(), x.dims().end());
  dims.push_back(int64_t(widest));
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::String, dims));
  for (size_t i = 0; i < parts.size(); ++i)
    std::copy(parts[i].begin(), parts[i].end(), y.mutableStrings().begin() + int64_t(i * widest));
  ctx.set(0, std::move(y));
  ctx.set(1, std::move(counts));
  return absl::OkStatus();
}
static void inferStringSplit(InferContext &ctx) {
  if (!ctx.isRanked(0)) {
    ctx.setUnranked(0, ElementType::String);
    return ctx.setUnranked(1, ElementType::Int64);
  }
  llvm::SmallVector<Dim, 4> out(ctx.shape(0).begin(), ctx.shape(0).end());
  ctx.setTensor(1, ElementType::Int64, out);
  out.push_back(ctx.freshDim());
  ctx.setTensor(0, ElementType::String, out);
}
ONNXOPT_DEFINE_OP(StringSplit) { op.since(20, native(inferStringSplit, evalStringSplit)); }

// StringNormalizer: case is changed for ASCII letters and the two-byte Latin and Greek/Cyrillic ranges of UTF-8

static std::string changeCase(const std::string &s, bool upper) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    auto b = static_cast<unsigned char>(s[i]);
    if (b < 0x80) {
      out += char(upper ? std::toupper(b) : std::tolower(b));
      continue;
    }
    if ((b & 0xe0) == 0xc0 && i + 1 < s.size()) {
      unsigned c = (b & 0x1f) << 6 | (static_cast<unsigned char>(s[i + 1]) & 0x3f);
      ++i;
      bool lowerLatin = c >= 0xe0 && c <= 0xfe && c != 0xf7, upperLatin = c >= 0xc0 && c <= 0xde && c != 0xd7;
      bool extended = c >= 0x100 && c <= 0x137;
      if (upper && lowerLatin)
        c -= 0x20;
      else if (!upper && upperLatin)
        c += 0x20;
      else if (extended)
        c = upper ? c & ~1u : c | 1u;
      else if (upper && c >= 0x430 && c <= 0x44f)
        c -= 0x20;
      else if (!upper && c >= 0x410 && c <= 0x42f)
        c += 0x20;
      out += char(0xc0 | c >> 6);
      out += char(0x80 | (c & 0x3f));
      continue;
    }
    out += s[i];
  }
  return out;
}

static absl::Status evalStringNormalizer(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 1 || x.rank() > 2 || (x.rank() == 2 && x.dim(0) != 1))
    return invalid(ctx, "needs [C] or [1, C]");
  std::string action = ctx.getString("case_change_action", "NONE");
  bool sensitive = ctx.getInt("is_case_sensitive");
  std::vector<std::string> stop = ctx.getStrings("stopwords"), kept;
  auto fold = [&](const std::string &s) { return sensitive ? s : changeCase(s, false); };
  for (std::string &s : stop)
    s = fold(s);
  for (const std::string &s : x.strings())
    if (!llvm::is_contained(stop, fold(s)))
      kept.push_back(action == "NONE" ? s : changeCase(s, action == "UPPER"));
  if (kept.empty())
    kept.push_back("");
  Dims dims = x.rank() == 2 ? Dims{1, int64_t(kept.size())} : Dims{int64_t(kept.size())};
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::String, dims));
  y.mutableStrings() = kept;
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferStringNormalizer(InferContext &ctx) {
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, ElementType::String);
  llvm::SmallVector<Dim, 2> out(ctx.shape(0).begin(), ctx.shape(0).end());
  if (!out.empty()) // where no word is left, there is an empty one
    out.back() = ctx.getStrings("stopwords").empty() ? ctx.dims().max(out.back(), ctx.constantDim(1)) : ctx.freshDim();
  ctx.setTensor(0, ElementType::String, out);
}
ONNXOPT_DEFINE_OP(StringNormalizer) { op.since(10, native(inferStringNormalizer, evalStringNormalizer)); }

// TfIdfVectorizer

/// What is wrong with the attributes of a TfIdfVectorizer, '' if nothing is.
static std::string tfIdfFault(const NodeView &node) {
  const std::vector<int64_t> counts = node.getInts("ngram_counts"), indexes = node.getInts("ngram_indexes");
  const int64_t pool = std::max(node.getInts("pool_int64s").size(), node.getStrings("pool_strings").size());
  for (size_t k = 0; k < counts.size(); ++k)
    if (counts[k] < (k ? counts[k - 1] : 0) || counts[k] > pool)
      return "ngram_counts must rise from 0 to at most " + std::to_string(pool) + ", the size of the pool";
  if (llvm::any_of(indexes, [](int64_t i) { return i < 0 || i >= INT32_MAX; }))
    return "ngram_indexes must not be negative";
  if (node.getInt("min_gram_length") < 1)
    return "min_gram_length must be at least 1";
  if (node.getInt("max_gram_length") < node.getInt("min_gram_length"))
    return "max_gram_length is less than min_gram_length";
  if (node.getInt("max_skip_count") < 0)
    return "max_skip_count must not be negative";
  return "";
}

static absl::Status evalTfIdf(EvalContext &ctx) {
  const Tensor &x = ctx.in(0);
  if (x.rank() < 1 || x.rank() > 2)
    return invalid(ctx, "needs rank 1 or 2");
  if (std::string fault = tfIdfFault(ctx); !fault.empty())
    return invalid(ctx, fault);
  std::vector<int64_t> counts = ctx.getInts("ngram_counts"), indexes = ctx.getInts("ngram_indexes"),
                       ints = ctx.getInts("pool_int64s");
  std::vector<std::string> strings = ctx.getStrings("pool_strings");
  std::vector<float> weights = ctx.getFloats("weights");
  const int64_t minLength = ctx.getInt("min_gram_length"), n = x.dim(x.rank() - 1),
                maxLength = std::min<int64_t>(ctx.getInt("max_gram_length"), counts.size()),
                maxSkip = std::min(ctx.getInt("max_skip_count"), n);
  std::string mode = ctx.getString("mode");
  int64_t poolSize = strings.empty() ? int64_t(ints.size()) : int64_t(strings.size()), width = 0;
  for (int64_t i : indexes)
    width = std::max(width, i + 1);
  // n-grams by their words; the pool lists those of length 1, then of 2, and so on.
  std::map<std::vector<std::string>, size_t> grams;
  size_t ordinal = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    int64_t length = int64_t(k) + 1, end = k + 1 < counts.size() ? counts[k + 1] : poolSize;
    for (int64_t at = counts[k]; at + length <= end; at += length) {
      std::vector<std::string> g;
      for (int64_t j = 0; j < length; ++j)
        g.push_back(strings.empty() ? std::to_string(ints[at + j]) : strings[at + j]);
      if (length >= minLength && length <= maxLength)
        grams[g] = ordinal;
      ++ordinal;
    }
  }
  int64_t rows = x.rank() == 2 ? x.dim(0) : 1;
  Dims dims = x.rank() == 2 ? Dims{rows, width} : Dims{width};
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Float, dims));
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> frequency(ordinal, 0);
    for (int64_t length = minLength; length <= maxLength; ++length)
      for (int64_t skip = 0; skip <= maxSkip; ++skip) {
        if (length == 1 && skip > 0)
          break;
        for (int64_t start = 0; start + (length - 1) * (skip + 1) < n; ++start) {
          std::vector<std::string> g;
          for (int64_t j = 0; j < length; ++j) {
            int64_t at = r * n + start + j * (skip + 1);
            g.push_back(x.isString() ? x.strings()[at] : std::to_string(x.intAt(at)));
          }
          if (auto it = grams.find(g); it != grams.end())
            frequency[it->second] += 1;
        }
      }
    for (size_t g = 0; g < ordinal && g < indexes.size(); ++g) {
      double f = frequency[g], w = g < weights.size() ? weights[g] : 1;
      y.mutableData<float>()[r * width + indexes[g]] = float(mode == "TF" ? f
                                                             : f > 0      ? (mode == "IDF" ? w : f * w)
                                                                          : 0);
    }
  }
  ctx.set(0, std::move(y));
  return absl::OkStatus();
}
static void inferTfIdf(InferContext &ctx) {
  if (std::string fault = tfIdfFault(ctx); !fault.empty())
    return ctx.fail(fault);
  int64_t width = 0;
  for (int64_t i : ctx.getInts("ngram_indexes"))
    width = std::max(width, i + 1);
  if (!ctx.isRanked(0))
    return ctx.setUnranked(0, ElementType::Float);
  if (ctx.rank(0) < 1 || ctx.rank(0) > 2)
    return ctx.fail("needs rank 1 or 2, operand 0 has rank " + std::to_string(ctx.rank(0)));
  llvm::SmallVector<Dim, 2> out;
  if (ctx.rank(0) == 2)
    out.push_back(ctx.shape(0)[0]);
  out.push_back(ctx.constantDim(width));
  ctx.setTensor(0, ElementType::Float, out);
}
ONNXOPT_DEFINE_OP(TfIdfVectorizer) { op.since(9, native(inferTfIdf, evalTfIdf)); }
