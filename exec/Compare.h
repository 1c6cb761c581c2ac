// Comparing run-time values.
#pragma once

#include "onnxopt/ops/Datum.h"

namespace onnxopt::exec {

struct Tolerance {
  double relative = 1e-3, absolute = 1e-7;
};

struct Difference {
  bool equal = true;
  std::string what;   ///< the first difference, in words
  double largest = 0; ///< largest absolute difference of floating elements
  double scale = 0;   ///< largest absolute element of the expectation
};

/// Shapes and types must match; whole numbers and strings exactly, floats within |a - b| <= abs + rel * |b|. NaN equals
/// NaN. bfloat16 and narrower are given one unit in their last place.
Difference compare(const Datum &actual, const Datum &expected, const Tolerance &tolerance);

} // namespace onnxopt::exec
