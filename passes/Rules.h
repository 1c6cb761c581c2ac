// Fusion rules as data: what to look for, under which conditions, what to put instead.
#pragma once

#include "onnxopt/passes/Pass.h"

namespace onnxopt {

/// How far a rewrite may move a result.
enum class Exactness : uint8_t {
  Bitwise,  ///< the same bits
  Rounding, ///< the same formula up to the order and number of roundings
};

/// What a pattern bound, and what the conditions may ask.
struct FusionMatch {
  Node *root = nullptr;
  llvm::SmallVector<Node *, 8> nodes;      ///< matched nodes, the root first
  std::map<std::string, Value *> captures; ///< by the pattern's input names
  Value *operator[](const std::string &name) const {
    auto it = captures.find(name);
    return it == captures.end() ? nullptr : it->second;
  }
};

struct FusionServices {
  Model &model;
  Rewriter &rewriter;
  Inference &inference;
  Type typeOf(const Value *v) const { return inference.typeOf(v); }
  /// Elements of a constant; nullopt when it is none or cannot be read.
  std::optional<Tensor> constant(const Value *v) const;
  std::optional<double> scalar(const Value *v) const;
};

/// A pattern is a graph in the text form. Its inputs bind any value; scalar initializers match constants of that value
/// (relative difference 1e-5, any shape of one element). Operands of commutative operators match in either order.
struct FusionRule {
  const char *name;
  Exactness exactness;
  std::vector<const char *> patterns;
  /// The operator that takes the place; the rule fires only where the owner's opset has it (else a function is called,
  /// when calls are allowed and the body is the matched code).
  const char *op = nullptr;
  /// Why the match is refused; "" to go on.
  std::string (*refuse)(const FusionMatch &, FusionServices &) = nullptr;
  /// Operands (names of captures) and attributes of the new node.
  std::vector<std::string> operands = {};
  std::vector<Attribute> (*attributes)(const FusionMatch &, FusionServices &) = nullptr;
  /// For rules that compute new constants: does all the work itself; gives the new value, or null with `why` set.
  Value *(*build)(const FusionMatch &, FusionServices &, std::string &why) = nullptr;
};

std::vector<FusionRule> geluRules();
std::vector<FusionRule> normalizationRules();
std::vector<FusionRule> linearRules();
std::vector<FusionRule> activationRules();

} // namespace onnxopt
