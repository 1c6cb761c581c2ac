// Is this graph well formed, and is this file a legal and safe ONNX model?
//
// What a valid model guarantees, and nobody may rely on more. Codes are stable.
//   Structure
//   ONNX-SSA-001   a name is defined once in its graph
//   ONNX-SSA-002   every operand is defined in its graph or one around it
//   ONNX-SSA-003   inputs, outputs and initializers have names
//   ONNX-SSA-004   every graph output is produced
//   ONNX-SSA-005   operands are defined before their use (nodes are in topological order; a cycle is shown)
//   ONNX-SSA-006   a name does not hide one of an outer graph (warning)
//   ONNX-GRAPH-001 graphs are nested at most `Limits::depth` deep
//   ONNX-GRAPH-002 a graph has a name
//   Model
//   ONNX-MODEL-001 there is a graph;  -002 an IR version that is known;  -003 opset imports: one for each domain,
//   known; ONNX-MODEL-004 metadata keys are unique;  -005 IR version 3 opset and type tables hold Operators ONNX-OP-001
//   the operator exists in the domain at the imported version;  -002 it is not deprecated (warning); ONNX-OP-003    the
//   number of operands fits;  -004 of results;  -005 a required operand is given;  -006 the domain is imported
//   ONNX-ATTR-001  an attribute is given once;  -002 it is known;  -003 has the right type;  -004 required ones are
//   given; ONNX-ATTR-005  it has one value;  -006 its value is allowed;  -007 references are to attributes of the
//   function Functions ONNX-FUNC-001  outputs are produced;  -002 defined once;  -003 no recursion;  -004 calls fit the
//   signature Tensors ONNX-TENSOR-001 payload, type and dims agree; external data is inside the model's folder and its
//   file ONNX-SPARSE-001 indices and values of sparse tensors agree Types and shapes ONNX-TYPE-001  declarations of one
//   value agree;  -002 a declaration agrees with what is proved;  -003 so for outputs; ONNX-TYPE-004  operand types
//   meet the constraints of the operator, equal variables equal types ONNX-SHAPE-001 shapes, sizes, axes and indices
//   meet the operator's definition Lint ONNX-LINT-001  dead nodes;  -002 value_info for unknown names;  -003 duplicate
//   opset imports;  -004 payload longer than needed
#pragma once

#include "onnxopt/ir/Graph.h"

namespace onnxopt {

struct VerifierOptions {
  bool schemas = true;
  bool shapes = true;
  bool lint = false;
  size_t maxErrors = 1000;
};

/// All findings of one run, import faults included, in the order of the model.
std::vector<Diagnostic> verify(Model &model, const VerifierOptions &options = {});
bool hasErrors(llvm::ArrayRef<Diagnostic> diagnostics);

} // namespace onnxopt
