// JSON and SARIF, written by LLVM's JSON library.
#include "onnxopt/verifier/Report.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

#include <set>

namespace onnxopt {
namespace {

namespace json = llvm::json;

std::string print(json::Value value) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << llvm::formatv("{0:2}", std::move(value)) << "\n";
  return text;
}

json::Value text(llvm::StringRef s) { return json::Value(json::fixUTF8(s)); }

} // namespace

std::string toJson(llvm::ArrayRef<Diagnostic> diagnostics) {
  static const char *const names[] = {"error", "warning", "lint", "remark"};
  json::Array list;
  for (const Diagnostic &d : diagnostics)
    list.push_back(json::Object{{"severity", names[int(d.severity)]},
                                {"code", text(d.code)},
                                {"path", text(d.path)},
                                {"message", text(d.message)}});
  return print(std::move(list));
}

std::string toSarif(llvm::ArrayRef<Diagnostic> diagnostics, const std::string &file) {
  static const char *const levels[] = {"error", "warning", "note", "none"};
  std::set<std::string> codes;
  json::Array results, rules;
  for (const Diagnostic &d : diagnostics) {
    if (codes.insert(d.code).second)
      rules.push_back(json::Object{{"id", text(d.code)}});
    json::Object location{{"physicalLocation", json::Object{{"artifactLocation", json::Object{{"uri", text(file)}}}}},
                          {"logicalLocations", json::Array{json::Object{{"fullyQualifiedName", text(d.path)}}}}};
    results.push_back(json::Object{{"ruleId", text(d.code)},
                                   {"level", levels[int(d.severity)]},
                                   {"message", json::Object{{"text", text(d.message)}}},
                                   {"locations", json::Array{std::move(location)}}});
  }
  json::Object driver{{"name", "onnx-opt"}, {"rules", std::move(rules)}};
  json::Object run{{"tool", json::Object{{"driver", std::move(driver)}}}, {"results", std::move(results)}};
  return print(json::Object{{"version", "2.1.0"}, {"runs", json::Array{std::move(run)}}});
}

} // namespace onnxopt
