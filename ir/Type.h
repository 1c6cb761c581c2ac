// Types of values: tensor, sparse tensor, sequence, optional, map, opaque.
#pragma once

#include "onnxopt/ir/Dim.h"
#include "onnxopt/ir/ElementType.h"

#include <memory>

namespace onnxopt {

/// A value's type as far as it is known. Unknown rank is not rank 0; an unknown dimension is a null Dim.
struct Type {
  enum Kind : uint8_t { Unknown, Tensor, Sparse, Sequence, Optional, Map, Opaque };
  Kind kind = Unknown;
  bool ranked = false;
  ElementType element = ElementType::Undefined; ///< of a tensor; the key type of a map
  llvm::SmallVector<Dim, 4> dims;               ///< of a ranked tensor
  std::shared_ptr<const Type> inner;            ///< element of a sequence or optional, value of a map
  std::string opaqueDomain, opaqueName;

  static Type tensor(ElementType element) {
    Type t;
    t.kind = Tensor;
    t.element = element;
    return t;
  }
  static Type tensor(ElementType element, llvm::ArrayRef<Dim> dims) {
    Type t = tensor(element);
    t.ranked = true;
    t.dims.assign(dims.begin(), dims.end());
    return t;
  }
  static Type sequenceOf(Type element) { return container(Sequence, std::move(element)); }
  static Type optionalOf(Type element) { return container(Optional, std::move(element)); }
  static Type mapOf(ElementType key, Type value) {
    Type t = container(Map, std::move(value));
    t.element = key;
    return t;
  }

  bool isTensor() const { return kind == Tensor; }
  bool isKnown() const { return kind != Unknown; }
  bool hasElement() const { return element != ElementType::Undefined; }
  size_t rank() const { return dims.size(); }
  /// All dimensions are constants.
  bool isStatic() const;
  /// Product of constant dimensions; nullopt unless static or on overflow.
  std::optional<int64_t> elementCount() const;
  bool operator==(const Type &other) const;

private:
  static Type container(Kind kind, Type element) {
    Type t;
    t.kind = kind;
    t.inner = std::make_shared<const Type>(std::move(element));
    return t;
  }
};

/// "float[N,64]", "seq(float)", "tensor(?)": for messages and the text form.
std::string toString(const Type &type, const DimContext &dims);
/// The type as a schema names it, "tensor(float)", "seq(tensor(int64))"; empty when not known.
std::string schemaName(const Type &type);

} // namespace onnxopt
