// Run-time values: tensors, sequences, optionals, maps.
#pragma once

#include "onnxopt/ir/Dim.h"
#include "onnxopt/ir/Tensor.h"

namespace onnxopt {

/// An optional that holds something is that thing itself; `None` is the empty one. Sequences share their items until
/// they are written to.
struct Datum {
  enum Kind : uint8_t { None, TensorKind, SequenceKind, MapKind } kind = None;
  Tensor tensor; ///< of a map: its keys
  std::shared_ptr<std::vector<Datum>> items;

  Datum() = default;
  Datum(Tensor t) : kind(TensorKind), tensor(std::move(t)) {}
  static Datum sequence(std::vector<Datum> items) {
    Datum d;
    d.kind = SequenceKind;
    d.items = std::make_shared<std::vector<Datum>>(std::move(items));
    return d;
  }
  static Datum map(Tensor keys, std::vector<Datum> values) {
    Datum d = sequence(std::move(values));
    d.kind = MapKind;
    d.tensor = std::move(keys);
    return d;
  }
  bool isTensor() const { return kind == TensorKind; }
  bool isSequence() const { return kind == SequenceKind; }
  llvm::ArrayRef<Datum> elements() const { return *items; }
  std::vector<Datum> &mutableElements() {
    if (items.use_count() > 1)
      items = std::make_shared<std::vector<Datum>>(*items);
    return *items;
  }
};

/// Integers (or 0/1 for bool) whose elements may be symbolic: what shape computations run on. A null Dim is unknown.
struct SymTensor {
  Dims dims;
  llvm::SmallVector<Dim, 8> elements;
  bool isConstant() const {
    for (Dim d : elements)
      if (!d.isConstant())
        return false;
    return true;
  }
  static SymTensor vector(llvm::ArrayRef<Dim> v) { return {{int64_t(v.size())}, {v.begin(), v.end()}}; }
  static SymTensor scalar(Dim d) { return {{}, {d}}; }
};

/// The truth of the one integer or element that is known of a value; nullopt where none is.
inline std::optional<bool> knownBool(const SymTensor *value, const Tensor *constant) {
  if (value && value->elements.size() == 1 && value->elements[0].isConstant())
    return value->elements[0].constant() != 0;
  return constant && constant->size() == 1 ? std::optional(constant->intAt(0) != 0) : std::nullopt;
}

} // namespace onnxopt
