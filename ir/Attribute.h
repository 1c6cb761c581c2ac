// A named attribute of a node.
#pragma once

#include "onnxopt/ir/Tensor.h"
#include "onnxopt/ir/Type.h"

#include <variant>

namespace onnxopt {

class Graph; // complete in Graph.h, which every user of graphs includes

/// Numbers are those of AttributeProto.AttributeType.
enum class AttributeType : int32_t {
  Undefined = 0,
  Float = 1,
  Int = 2,
  String = 3,
  Tensor = 4,
  Graph = 5,
  Floats = 6,
  Ints = 7,
  Strings = 8,
  Tensors = 9,
  Graphs = 10,
  SparseTensor = 11,
  SparseTensors = 12,
  TypeProto = 13,
  TypeProtos = 14,
};
llvm::StringRef nameOf(AttributeType type);

/// Owns its value, subgraphs included. A non-empty `refName` stands for an attribute of the enclosing function's call.
struct Attribute {
  using Graphs = std::vector<std::unique_ptr<Graph>>;
  using Tensors = std::vector<std::shared_ptr<const TensorData>>;
  using Value =
      std::variant<std::monostate, float, int64_t, std::string, std::vector<float>, std::vector<int64_t>,
                   std::vector<std::string>, Tensors, Graphs, std::vector<SparseTensorData>, std::vector<Type>>;

  llvm::StringRef name; ///< interned in the context
  AttributeType type = AttributeType::Undefined;
  Value value; ///< singular tensor, graph, sparse tensor and type kinds hold vectors of one
  std::string refName, doc;
  std::shared_ptr<const AsRead> asRead;

  Attribute() = default;
  Attribute(llvm::StringRef name, AttributeType type) : name(name), type(type) {}
  Attribute(Attribute &&) noexcept;
  Attribute &operator=(Attribute &&) noexcept;
  ~Attribute();

  int64_t asInt() const { return std::get<int64_t>(value); }
  float asFloat() const { return std::get<float>(value); }
  llvm::StringRef asString() const { return std::get<std::string>(value); }
  llvm::ArrayRef<int64_t> asInts() const { return std::get<std::vector<int64_t>>(value); }
  llvm::ArrayRef<float> asFloats() const { return std::get<std::vector<float>>(value); }
  llvm::ArrayRef<std::string> asStrings() const { return std::get<std::vector<std::string>>(value); }
  /// The single tensor; null when absent.
  std::shared_ptr<const TensorData> asTensor() const;
  /// Subgraphs of a Graph or Graphs attribute; empty for other kinds.
  llvm::ArrayRef<std::unique_ptr<Graph>> graphs() const;
};

Attribute makeAttribute(llvm::StringRef name, int64_t value);
Attribute makeAttribute(llvm::StringRef name, float value);
Attribute makeAttribute(llvm::StringRef name, std::string value);
Attribute makeAttribute(llvm::StringRef name, std::vector<int64_t> value);
Attribute makeAttribute(llvm::StringRef name, std::vector<float> value);
Attribute makeAttribute(llvm::StringRef name, std::shared_ptr<const TensorData> value);

} // namespace onnxopt
