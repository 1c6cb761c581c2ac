// Cases of single nodes, by operator: the backend suite's, and those that it lacks.
#pragma once

#include "BackendCases.h"

#include <functional>

namespace onnxopt {

using Loader = std::function<Case(Context &)>;

/// By "domain.Operator"; the domain of ai.onnx is ''.
std::map<std::string, std::vector<Loader>> casesByOperator();

} // namespace onnxopt
