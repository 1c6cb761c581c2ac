// Reading and writing run-time values: .npy, and the .pb files of the ONNX backend suite.
#pragma once

#include "onnxopt/ir/Graph.h"
#include "onnxopt/ops/Datum.h"

#include <map>

namespace onnxopt::exec {

/// A TensorProto, SequenceProto or OptionalProto, told apart by `type` (a tensor when unknown).
absl::StatusOr<Datum> readPb(Context &context, const std::string &path, const Type &type);
/// The inputs of a data set of the backend suite's layout, FOLDER/input_J.pb, by name. Absent files are left out.
absl::StatusOr<std::map<std::string, Datum>> readInputs(Context &context, const Graph &graph,
                                                        const std::string &folder);
absl::StatusOr<Tensor> readNpy(const std::string &path);
/// Types that numpy lacks are written as float32 (small floats) or int8/uint8 (4- and 2-bit).
absl::Status writeNpy(const std::string &path, const Tensor &tensor);
absl::StatusOr<std::string> readFile(const std::string &path);

} // namespace onnxopt::exec
