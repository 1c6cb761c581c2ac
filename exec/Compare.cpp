// Element-wise comparison.
#include "onnxopt/exec/Compare.h"

#include "onnxopt/ops/support/Kernels.h"

#include "absl/strings/str_cat.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <numeric>

namespace onnxopt::exec {

static std::string shapeText(const Tensor &t) {
  std::string s = nameOf(t.type()).str() + "[";
  for (size_t i = 0; i < t.rank(); ++i)
    absl::StrAppend(&s, i ? "," : "", t.dim(i));
  return s + "]";
}

/// A map as [keys, values], sorted by key.
static Datum entries(const Datum &map) {
  const Tensor &keys = map.tensor;
  std::vector<int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  llvm::stable_sort(order, [&](int64_t a, int64_t b) {
    return keys.isString() ? keys.strings()[a] < keys.strings()[b] : keys.intAt(a) < keys.intAt(b);
  });
  Tensor sorted(keys.type(), keys.dims());
  std::vector<Datum> values;
  for (auto [to, from] : llvm::enumerate(order)) {
    kernels::copyElement(keys, from, sorted, int64_t(to));
    values.push_back(map.elements()[from]);
  }
  return Datum::sequence({sorted, Datum::sequence(std::move(values))});
}

Difference compare(const Datum &actual, const Datum &expected, const Tolerance &tolerance) {
  Difference d;
  auto differ = [&](std::string what) {
    if (d.equal)
      d.what = std::move(what);
    d.equal = false;
  };
  if (actual.kind != expected.kind) {
    differ("different kinds of value");
    return d;
  }
  if (actual.kind == Datum::None)
    return d;
  if (actual.kind == Datum::MapKind) // the order of its entries has no meaning
    return compare(entries(actual), entries(expected), tolerance);
  if (!actual.isTensor()) {
    if (actual.elements().size() != expected.elements().size()) {
      differ(absl::StrCat(actual.elements().size(), " elements, expected ", expected.elements().size()));
      return d;
    }
    for (size_t i = 0; i < actual.elements().size(); ++i) {
      Difference e = compare(actual.elements()[i], expected.elements()[i], tolerance);
      d.largest = std::max(d.largest, e.largest);
      d.scale = std::max(d.scale, e.scale);
      if (!e.equal)
        differ(absl::StrCat("element ", i, ": ", e.what));
    }
    return d;
  }
  const Tensor &a = actual.tensor, &b = expected.tensor;
  if (a.type() != b.type() || a.dims() != b.dims()) {
    differ(shapeText(a) + ", expected " + shapeText(b));
    return d;
  }
  if (a.isString()) {
    for (int64_t i = 0; i < a.size(); ++i)
      if (a.strings()[i] != b.strings()[i])
        differ(absl::StrCat("at ", i, ": '", a.strings()[i], "', expected '", b.strings()[i], "'"));
    return d;
  }
  bool complex = a.type() == ElementType::Complex64 || a.type() == ElementType::Complex128;
  if (!isFloating(a.type()) && !complex) {
    for (int64_t i = 0; i < a.size(); ++i)
      if (a.intAt(i) != b.intAt(i)) {
        differ(absl::StrCat("at ", i, ": ", a.intAt(i), ", expected ", b.intAt(i)));
        d.largest = std::max(d.largest, std::fabs(double(a.intAt(i)) - double(b.intAt(i))));
      }
    return d;
  }
  Tensor x = a, y = b;
  int64_t n = a.size();
  if (complex) {
    ElementType part = a.type() == ElementType::Complex64 ? ElementType::Float : ElementType::Double;
    n *= 2;
    x = a.bitcast(part);
    y = b.bitcast(part);
  }
  double relative = tolerance.relative;
  if (a.type() == ElementType::BFloat16)
    relative = std::max(relative, 1.0 / 64);
  for (int64_t i = 0; i < n; ++i) {
    double p = x.floatAt(i), q = y.floatAt(i);
    if (std::isnan(p) && std::isnan(q))
      continue;
    if (p == q) {
      if (std::isfinite(q))
        d.scale = std::max(d.scale, std::fabs(q));
      continue;
    }
    double e = std::fabs(p - q);
    if (std::isfinite(e))
      d.largest = std::max(d.largest, e);
    else
      d.largest = INFINITY;
    if (std::isfinite(q))
      d.scale = std::max(d.scale, std::fabs(q));
    if (!(e <= tolerance.absolute + relative * std::fabs(q)))
      differ(absl::StrCat("at ", i, ": ", p, ", expected ", q));
  }
  return d;
}

} // namespace onnxopt::exec
