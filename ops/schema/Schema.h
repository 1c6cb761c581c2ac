// Operator signatures as facts: what the generated tables hold, and lookup in them.
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <map>
#include <string>

namespace onnxopt::schema {

enum class FormalOption : uint8_t { Single, Optional, Variadic };

/// One input or output of a signature. `type` is the name of a constraint, or a type like "tensor(int64)".
struct Formal {
  const char *name;
  const char *type;
  int option;
  bool homogeneous;
  FormalOption kind() const { return static_cast<FormalOption>(option); }
  /// Whether each operand of it must be there.
  bool mustBeGiven() const { return kind() != FormalOption::Optional; }
};

/// `type` is an AttributeProto.AttributeType. `defaultValue` is encoded as tools/gen-schemas.py says, "" where absent.
struct AttributeSpec {
  const char *name;
  int type;
  bool required;
  const char *defaultValue;
};

/// A type variable; `set` indexes the table's type sets.
struct TypeConstraint {
  const char *name;
  int set;
};

struct Record {
  const char *domain;
  const char *name;
  int sinceVersion;
  bool deprecated;
  bool hasBody; ///< ONNX defines it as a function of other operators
  int minInputs, maxInputs, minOutputs, maxOutputs;
  int inputs, numInputs, outputs, numOutputs, attributes, numAttributes, constraints, numConstraints;
};

struct Table {
  const Record *records;
  size_t numRecords;
  const Formal *formals;
  const AttributeSpec *attributes;
  const TypeConstraint *constraints;
  const char *const *typeSets;
};

const Table &onnxTable();
const Table &microsoftTable();

/// One version of one operator. A null Schema means that no table knows it.
class Schema {
public:
  Schema() = default;
  Schema(const Table *table, const Record *record) : table_(table), record_(record) {}
  explicit operator bool() const { return record_ != nullptr; }

  llvm::StringRef domain() const { return record_->domain; }
  llvm::StringRef name() const { return record_->name; }
  int sinceVersion() const { return record_->sinceVersion; }
  bool deprecated() const { return record_->deprecated; }
  bool hasBody() const { return record_->hasBody; }
  int minInputs() const { return record_->minInputs; }
  int maxInputs() const { return record_->maxInputs; }
  int minOutputs() const { return record_->minOutputs; }
  int maxOutputs() const { return record_->maxOutputs; }
  llvm::ArrayRef<Formal> inputs() const { return {table_->formals + record_->inputs, size_t(record_->numInputs)}; }
  llvm::ArrayRef<Formal> outputs() const { return {table_->formals + record_->outputs, size_t(record_->numOutputs)}; }
  llvm::ArrayRef<AttributeSpec> attributes() const {
    return {table_->attributes + record_->attributes, size_t(record_->numAttributes)};
  }
  llvm::ArrayRef<TypeConstraint> constraints() const {
    return {table_->constraints + record_->constraints, size_t(record_->numConstraints)};
  }
  /// The formal of operand or result `index`; the last one repeats when it is variadic. Null beyond the end.
  const Formal *input(size_t index) const { return formalAt(inputs(), index); }
  const Formal *output(size_t index) const { return formalAt(outputs(), index); }
  const AttributeSpec *attribute(llvm::StringRef name) const;
  /// Type names that `formal` admits, separated by blanks.
  llvm::StringRef allowedTypes(const Formal &formal) const;
  /// Whether `formal` admits `type`, "tensor(float)". An optional may be spelled by its element.
  bool allows(const Formal &formal, llvm::StringRef type) const;
  const Record *record() const { return record_; }

private:
  static const Formal *formalAt(llvm::ArrayRef<Formal> formals, size_t index);
  const Table *table_ = nullptr;
  const Record *record_ = nullptr;
};

/// The types that the type variables of one node stand for.
class TypeVariables {
public:
  /// Takes an operand or result of `formal` with its type, "tensor(float)". Gives the type that another one of the same
  /// variable has where the two disagree, else ''. An optional may be spelled by its element.
  std::string bind(const Formal &formal, const std::string &type);

private:
  std::map<std::string, std::string> bound_;
};

/// The schema of `name` in force at `version` of `domain` ("" is ai.onnx): the latest one not newer.
Schema lookup(llvm::StringRef domain, llvm::StringRef name, int64_t version);
/// Whether the tables cover `domain`, so that an operator missing from them is an error.
bool knowsDomain(llvm::StringRef domain);
/// The newest opset of `domain` that the tables cover; 0 for an unknown domain.
int64_t latestVersion(llvm::StringRef domain);
/// All records of all tables, in (domain, name, version) order within a table.
void forEach(llvm::function_ref<void(Schema)> visit);

} // namespace onnxopt::schema
