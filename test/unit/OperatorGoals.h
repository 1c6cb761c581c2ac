// What the operator loop wants to see run, and how a case gets there.
#pragma once

#include "BackendCases.h"

namespace onnxopt {

/// One type of one type variable of one version of one operator.
struct Goal {
  schema::Schema schema;
  std::string variable, type;
  std::string name() const {
    return schema.domain().str() + (schema.domain().empty() ? "" : ".") + schema.name().str() + "-" +
           std::to_string(schema.sinceVersion()) + " " + variable + " = " + type;
  }
};

/// Types of each type variable of operands and results; those of maps are left out, no tensor makes one.
std::vector<Goal> goalsOf(schema::Schema s);

using Bindings = std::map<std::string, std::string>; ///< of type variables to types
/// Bindings that may give a value of the goal's variable its type: of that variable alone, or, where only results have
/// it, also of an operand's variable whose elements have that type.
std::vector<Bindings> bindingsFor(const Goal &goal);

/// Conversion by the executor's own Cast; complex numbers get no imaginary part.
class Converter {
public:
  std::optional<Tensor> convert(const Tensor &t, ElementType to);
  /// `d` as a value of `type`, "seq(tensor(float))".
  std::optional<Datum> convert(const Datum &d, llvm::StringRef type);

private:
  Context context_;
  std::map<std::pair<ElementType, ElementType>, std::unique_ptr<Model>> models_;
};

/// "tensor(float)"; '' where a datum does not tell.
std::string typeOf(const Datum &d);

/// Carries a case of one node to the goal's version, with `bound` types for its type variables. False where it cannot
/// be one of that version.
bool carry(Case &c, const Goal &goal, Bindings bound, Converter &converter);
/// Whether the carried case has the goal's type at an operand or result of the goal's variable.
bool reaches(const Goal &goal, const Node &n, const std::map<std::string, Datum> &values, const Inference &inference);

} // namespace onnxopt
