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
//   ONNX-MODEL-001 there is a graph
//   ONNX-MODEL-002 an IR version that is known
//   ONNX-MODEL-003 opset imports: one for each domain, of a known version
//   ONNX-MODEL-004 metadata keys are unique
//   ONNX-MODEL-005 what the IR version has is all that is used
//   ONNX-OP-001    the operator exists in the domain at the imported version
//   ONNX-OP-002    it is not deprecated (warning)
//   ONNX-OP-003    the number of operands fits
//   ONNX-OP-004    the number of results fits
//   ONNX-OP-005    a required operand is given
//   ONNX-OP-006    the domain is imported
//   ONNX-ATTR-001  an attribute is given once
//   ONNX-ATTR-002  it is known
//   ONNX-ATTR-003  it has the right type
//   ONNX-ATTR-004  required ones are given
//   ONNX-ATTR-005  it has one value
//   ONNX-ATTR-006  its value is allowed
//   ONNX-ATTR-007  references are to attributes of the function
//   ONNX-ATTR-008  a number that is left out reads as 0 (warning)
//   ONNX-FUNC-001  outputs of functions are produced
//   ONNX-FUNC-002  functions are defined once
//   ONNX-FUNC-003  no recursion
//   ONNX-FUNC-004  calls fit the signature
//   ONNX-TENSOR-001 payload, type and dims agree; external data lie inside the model's folder and their file
//   ONNX-TENSOR-002 the payload is not longer than needed (warning)
//   ONNX-TENSOR-003 external data have one name only, no hard links (warning)
//   ONNX-SPARSE-001 indices and values of sparse tensors agree
//   ONNX-TYPE-001  declarations of one value agree
//   ONNX-TYPE-002  a declaration agrees with what is proved
//   ONNX-TYPE-003  so do those of outputs
//   ONNX-TYPE-004  operand types meet the constraints of the operator, equal variables equal types
//   ONNX-SHAPE-001 shapes, sizes, axes and indices meet the operator's definition
//   ONNX-LINT-001  dead nodes
//   ONNX-LINT-002  value_info for unknown names
//   ONNX-LINT-003  a domain that is imported twice
//   ONNX-LINT-004  branches whose results differ in rank
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
