// Lookup in the generated operator tables.
#include "onnxopt/ops/schema/Schema.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"

#include <algorithm>

namespace onnxopt::schema {
namespace {

const Table *const *tables() {
  static const Table *const all[] = {&onnxTable(), &microsoftTable(), nullptr};
  return all;
}

} // namespace

const AttributeSpec *Schema::attribute(llvm::StringRef name) const {
  for (const AttributeSpec &spec : attributes())
    if (name == spec.name)
      return &spec;
  return nullptr;
}

const Formal *Schema::formalAt(llvm::ArrayRef<Formal> formals, size_t index) {
  if (index < formals.size())
    return &formals[index];
  if (!formals.empty() && formals.back().kind() == FormalOption::Variadic)
    return &formals.back();
  return nullptr;
}

llvm::StringRef Schema::allowedTypes(const Formal &formal) const {
  llvm::StringRef type = formal.type;
  for (const TypeConstraint &constraint : constraints())
    if (type == constraint.name)
      return table_->typeSets[constraint.set];
  return type;
}

bool Schema::allows(const Formal &formal, llvm::StringRef type) const {
  return llvm::any_of(llvm::split(allowedTypes(formal), ' '), [&](llvm::StringRef allowed) {
    return allowed == type || (allowed.consume_front("optional(") && allowed.consume_back(")") && allowed == type);
  });
}

Schema lookup(llvm::StringRef domain, llvm::StringRef name, int64_t version) {
  if (domain == "ai.onnx")
    domain = "";
  for (const Table *const *t = tables(); *t; ++t) {
    const Record *begin = (*t)->records, *end = begin + (*t)->numRecords;
    // First record beyond (domain, name, version); the one before it, if it is the same operator, is in force.
    const Record *it = std::upper_bound(begin, end, version, [&](int64_t v, const Record &r) {
      if (int c = domain.compare(r.domain))
        return c < 0;
      if (int c = name.compare(r.name))
        return c < 0;
      return v < r.sinceVersion;
    });
    if (it != begin && domain == it[-1].domain && name == it[-1].name)
      return {*t, it - 1};
  }
  return {};
}

bool knowsDomain(llvm::StringRef domain) { return latestVersion(domain) > 0; }

int64_t latestVersion(llvm::StringRef domain) {
  // The tables are constant; the few domains in them are found once.
  static const std::vector<std::pair<llvm::StringRef, int64_t>> latest = [] {
    std::vector<std::pair<llvm::StringRef, int64_t>> found;
    for (const Table *const *t = tables(); *t; ++t)
      for (size_t i = 0; i < (*t)->numRecords; ++i) {
        llvm::StringRef name = (*t)->records[i].domain;
        if (found.empty() || found.back().first != name)
          found.push_back({name, 0});
        found.back().second = std::max<int64_t>(found.back().second, (*t)->records[i].sinceVersion);
      }
    return found;
  }();
  if (domain == "ai.onnx")
    domain = "";
  for (const auto &[name, version] : latest)
    if (name == domain)
      return version;
  return 0;
}

void forEach(llvm::function_ref<void(Schema)> visit) {
  for (const Table *const *t = tables(); *t; ++t)
    for (size_t i = 0; i < (*t)->numRecords; ++i)
      visit({*t, &(*t)->records[i]});
}

std::string TypeVariables::bind(const Formal &formal, const std::string &type) {
  const bool variable = !llvm::StringRef(formal.type).contains('(');
  if (!variable || (formal.kind() == FormalOption::Variadic && !formal.homogeneous))
    return "";
  const std::string &other = bound_.try_emplace(formal.type, type).first->second;
  return other == type || "optional(" + type + ")" == other || "optional(" + other + ")" == type ? "" : other;
}

} // namespace onnxopt::schema
