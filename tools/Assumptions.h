// What a command line assumes of a model: sizes, shapes, bounds, constant inputs.
#pragma once

#include "onnxopt/ir/Graph.h"
#include "onnxopt/tools/CommandLine.h"

namespace onnxopt {

/// Applies --dim, --range, --shape, --freeze-input and --freeze-default-inputs. Gives what is wrong with them, '' if
/// nothing is.
std::string applyAssumptions(Model &model, const CommandLine &args);

} // namespace onnxopt
