// Comparing and printing types.
#include "onnxopt/ir/Type.h"

#include "llvm/ADT/STLExtras.h"

namespace onnxopt {

bool Type::isStatic() const {
  return isTensor() && ranked && llvm::all_of(dims, [](Dim d) { return d.isConstant(); });
}

std::optional<int64_t> Type::elementCount() const {
  if (!isStatic())
    return std::nullopt;
  int64_t n = 1;
  for (Dim d : dims)
    if (d.constant() == 0)
      return 0;
  for (Dim d : dims)
    if (d.constant() < 0 || __builtin_mul_overflow(n, d.constant(), &n))
      return std::nullopt;
  return n;
}

bool Type::operator==(const Type &o) const {
  if (kind != o.kind || element != o.element || ranked != o.ranked || dims != o.dims ||
      opaqueDomain != o.opaqueDomain || opaqueName != o.opaqueName || !inner != !o.inner)
    return false;
  return !inner || *inner == *o.inner;
}

std::string toString(const Type &type, const DimContext &dims) {
  switch (type.kind) {
  case Type::Unknown:
    return "?";
  case Type::Sequence:
    return "seq(" + toString(*type.inner, dims) + ")";
  case Type::Optional:
    return "optional(" + toString(*type.inner, dims) + ")";
  case Type::Map:
    return "map(" + nameOf(type.element).str() + ", " + toString(*type.inner, dims) + ")";
  case Type::Opaque:
    return "opaque(" + type.opaqueDomain + "." + type.opaqueName + ")";
  case Type::Tensor:
  case Type::Sparse:
    break;
  }
  std::string s = type.hasElement() ? nameOf(type.element).str() : "?";
  if (s.empty())
    s = "type" + std::to_string(int(type.element));
  if (!type.ranked) {
    s += "[]";
  } else if (!type.dims.empty()) {
    s += "[";
    for (auto [i, d] : llvm::enumerate(type.dims))
      s += (i ? "," : "") + dims.print(d);
    s += "]";
  }
  return type.kind == Type::Sparse ? "sparse_tensor(" + s + ")" : s;
}

std::string schemaName(const Type &type) {
  std::string inner = type.inner ? schemaName(*type.inner) : "";
  std::string element = nameOf(type.element).str();
  switch (type.kind) {
  case Type::Tensor:
    return type.hasElement() && !element.empty() ? "tensor(" + element + ")" : "";
  case Type::Sparse:
    return type.hasElement() && !element.empty() ? "sparse_tensor(" + element + ")" : "";
  case Type::Sequence:
    return inner.empty() ? "" : "seq(" + inner + ")";
  case Type::Optional:
    return inner.empty() ? "" : "optional(" + inner + ")";
  case Type::Map:
    // A schema names the element where the values are tensors.
    return inner.empty()
               ? ""
               : "map(" + element + "," + (type.inner->isTensor() ? nameOf(type.inner->element).str() : inner) + ")";
  default:
    return "";
  }
}

} // namespace onnxopt
