// onnx-run: runs a model on the reference executor; runs test suites; compares models.
#include "onnxopt/tools/CommandLine.h"

#include "onnxopt/exec/Compare.h"
#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/exec/Executor.h"
#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/Import.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <sys/stat.h>

using namespace onnxopt;
using namespace onnxopt::exec;

namespace {

const char *const kUsage = R"(usage: onnx-run model.onnx [options]
       onnx-run --suite DIR

  --input NAME=FILE     an input from a .npy or .pb file (else it is drawn: see --seed)
  --seed N              seed of drawn inputs (default 0)
  --dim NAME=N          value of a symbolic dim for drawn inputs
  --output-dir DIR      write each output as DIR/NAME.npy
  --dump-dir DIR        write every value as .npy, and a table of them (dtype, shape, min, max, mean, NaN, Inf)
  --stats               print that table
  --watch nan           stop at the first value that holds a NaN
  --compare OTHER       run OTHER on the same inputs and compare the outputs
  --rtol R --atol A     tolerances (default 1e-3, 1e-7)
  --benchmark N         print the median time of N runs
  --suite DIR           run folders that hold model.onnx and test_data_set_K/{input,output}_J.pb
  --list-operators      print which operators are defined
  --max-memory MB       limit of one tensor (default 8192)
)";

bool isDirectory(const std::string &path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

std::vector<std::string> listDirectory(const std::string &path) {
  std::vector<std::string> names;
  if (DIR *d = opendir(path.c_str())) {
    while (dirent *e = readdir(d))
      if (e->d_name[0] != '.')
        names.push_back(e->d_name);
    closedir(d);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// One case of a suite: "" when it passed, else what went wrong. `skipped` tells that nothing could be compared.
std::string runCase(const std::string &dir, Tolerance tolerance, bool &skipped) {
  // Transforms have a larger absolute tolerance in the suite's own runner.
  if (dir.find("/test_dft") != std::string::npos)
    tolerance.absolute = std::max(tolerance.absolute, 1e-6);
  Context context;
  auto model = importModel(context, dir + "/model.onnx");
  if (!model.ok())
    return std::string(model.status().message());
  Graph &g = (*model)->graph();
  // Random draws have no expected values; only types and shapes are compared.
  bool random = false;
  forEachGraph(**model, [&](Graph &graph) {
    for (Node &n : graph.nodes())
      random |= n.opType() == "Bernoulli" || n.opType().starts_with("Random") || n.opType() == "Multinomial";
  });
  Executor executor(**model);
  unsigned sets = 0;
  for (const std::string &set : listDirectory(dir)) {
    if (set.rfind("test_data_set_", 0) != 0)
      continue;
    ++sets;
    auto inputs = readInputs(context, g, dir + "/" + set);
    if (!inputs.ok())
      return std::string(inputs.status().message());
    auto outputs = executor.run(*inputs);
    if (!outputs.ok())
      return std::string(outputs.status().message());
    for (unsigned i = 0; i < outputs->size(); ++i) {
      const OutputSlot &slot = g.outputs()[i];
      auto expected =
          readPb(context, dir + "/" + set + "/output_" + std::to_string(i) + ".pb", slot.type ? *slot.type : Type());
      if (!expected.ok())
        return std::string(expected.status().message());
      if (random && (*outputs)[i].isTensor() && expected->isTensor() &&
          (*outputs)[i].tensor.type() == expected->tensor.type() &&
          (*outputs)[i].tensor.dims() == expected->tensor.dims())
        continue;
      Difference d = compare((*outputs)[i], *expected, tolerance);
      if (!d.equal)
        return "output " + std::to_string(i) + " '" + slot.name.str() + "' " + d.what;
    }
  }
  skipped = sets == 0;
  return "";
}

int runSuite(const std::string &root, const Tolerance &tolerance) {
  if (!isDirectory(root))
    return reportError(root + " is no folder");
  unsigned passed = 0, failed = 0, skippedCount = 0;
  std::vector<std::string> dirs{root};
  for (size_t i = 0; i < dirs.size(); ++i) {
    struct stat st;
    std::string dir = dirs[i];
    if (stat((dir + "/model.onnx").c_str(), &st) == 0) {
      bool skipped = false;
      std::string why = runCase(dir, tolerance, skipped);
      if (!why.empty()) {
        ++failed;
        std::printf("FAIL %s: %s\n", dir.substr(root.size()).c_str(), why.c_str());
      } else {
        ++(skipped ? skippedCount : passed);
      }
      continue;
    }
    for (const std::string &name : listDirectory(dir))
      if (isDirectory(dir + "/" + name))
        dirs.push_back(dir + "/" + name);
  }
  std::printf("%u passed, %u failed, %u skipped\n", passed, failed, skippedCount);
  return failed ? 1 : 0;
}

struct Stats {
  double min = INFINITY, max = -INFINITY, sum = 0;
  int64_t nan = 0, inf = 0, counted = 0;
};

Stats statsOf(const Tensor &t) {
  Stats s;
  if (t.isString() || t.type() == ElementType::Complex64 || t.type() == ElementType::Complex128)
    return s;
  for (int64_t i = 0; i < t.size(); ++i) {
    double v = t.floatAt(i);
    if (std::isnan(v)) {
      ++s.nan;
      continue;
    }
    if (std::isinf(v)) {
      ++s.inf;
      continue;
    }
    s.min = std::min(s.min, v);
    s.max = std::max(s.max, v);
    s.sum += v;
    ++s.counted;
  }
  return s;
}

std::string statsLine(llvm::StringRef name, const Datum &d) {
  if (!d.isTensor())
    return (name + "\t" + (d.kind == Datum::None ? "none" : "sequence of " + std::to_string(d.elements().size())))
        .str();
  std::string shape;
  for (int64_t x : d.tensor.dims())
    shape += (shape.empty() ? "" : ",") + std::to_string(x);
  Stats s = statsOf(d.tensor);
  char buffer[160];
  if (s.counted)
    std::snprintf(buffer, sizeof buffer, "%.6g\t%.6g\t%.6g\t%lld\t%lld", s.min, s.max, s.sum / double(s.counted),
                  (long long)s.nan, (long long)s.inf);
  else
    std::snprintf(buffer, sizeof buffer, "-\t-\t-\t%lld\t%lld", (long long)s.nan, (long long)s.inf);
  return (name + "\t" + nameOf(d.tensor.type()) + "\t[" + shape + "]\t" + buffer).str();
}

std::string fileName(llvm::StringRef name) {
  std::string s = name.str();
  for (char &c : s)
    if (!isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != '-')
      c = '_';
  return s;
}

/// A table of all schemas: which have a shape rule and a kernel.
void listOperators() {
  Context context;
  OpRegistry &registry = operatorsOf(context);
  enum Column { Kernel, RuleOnly, Missing };
  std::map<std::pair<std::string, std::string>, std::array<std::string, 3>> rows;
  unsigned counts[3] = {};
  schema::forEach([&](schema::Schema s) {
    const OpDefinition *d = registry.find(s.domain(), s.name());
    if (s.domain() == "com.microsoft" && !d)
      return;
    const OpFacts *f = d ? d->at(s.sinceVersion()) : nullptr;
    const Column column = !f || !f->infer ? Missing : f->eval ? Kernel : RuleOnly;
    ++counts[column];
    std::string &list = rows[{s.domain().str(), s.name().str()}][column];
    list += (list.empty() ? "" : ", ") + std::to_string(s.sinceVersion());
  });
  std::printf("Of %u operator versions, %u have a shape rule and a kernel, %u a shape rule only.\n\n"
              "| operator | versions with a kernel | with a shape rule only | not defined |\n|---|---|---|---|\n",
              counts[Kernel] + counts[RuleOnly] + counts[Missing], counts[Kernel], counts[RuleOnly]);
  for (const auto &[key, columns] : rows)
    std::printf("| %s%s | %s | %s | %s |\n", key.first.empty() ? "" : (key.first + "::").c_str(), key.second.c_str(),
                columns[Kernel].c_str(), columns[RuleOnly].c_str(), columns[Missing].c_str());
  std::puts(
      "\nGradient differentiates the graph around it, which takes a derivative of each operator; none is there yet.");
}

} // namespace

int main(int argc, char **argv) {
  CommandLine args(argc, argv,
                   {"--input", "--seed", "--dim", "--output-dir", "--dump-dir", "--watch", "--compare", "--rtol",
                    "--atol", "--benchmark", "--suite", "--max-memory"},
                   {"--stats", "--list-operators", "--help"});
  if (!args.error().empty())
    return reportError(args.error());
  if (args.has("--help")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (args.has("--list-operators")) {
    listOperators();
    return 0;
  }
  Tolerance tolerance;
  tolerance.relative = args.number("--rtol", tolerance.relative);
  tolerance.absolute = args.number("--atol", tolerance.absolute);
  if (args.has("--suite"))
    return runSuite(args.value("--suite"), tolerance);
  if (args.positional().size() != 1)
    return reportError("one model is needed (--help lists the options)");
  Context context;
  auto model = readModel(context, args.positional()[0]);
  if (!model.ok())
    return reportError(std::string(model.status().message()));
  if (!(*model)->importErrors.empty())
    return reportError(toString((*model)->importErrors.front()));
  Graph &g = (*model)->graph();

  std::map<std::string, Datum> inputs;
  for (const std::string &spec : args.values("--input")) {
    auto [name, path] = llvm::StringRef(spec).split('=');
    const Value *input = nullptr;
    for (const auto &v : g.inputs())
      if (v->name() == name)
        input = v.get();
    if (!input)
      return reportError("the model has no input '" + name.str() + "'");
    absl::StatusOr<Datum> d = absl::InvalidArgumentError(path.str() + ": expected a .npy or .pb file");
    if (path.ends_with(".npy")) {
      auto t = readNpy(path.str());
      if (t.ok())
        d = Datum(*t);
      else
        d = t.status();
    } else if (path.ends_with(".pb")) {
      d = readPb(context, path.str(), input->declaredType() ? *input->declaredType() : Type());
    }
    if (!d.ok())
      return reportError(std::string(d.status().message()));
    inputs[name.str()] = *d;
  }
  InputOptions draw;
  draw.seed = uint64_t(args.number("--seed", 0));
  for (const std::string &spec : args.values("--dim")) {
    auto [name, value] = llvm::StringRef(spec).split('=');
    int64_t n;
    if (value.getAsInteger(10, n))
      return reportError("--dim needs NAME=NUMBER, found '" + spec + "'");
    draw.dims[name.str()] = n;
  }
  if (absl::Status s = drawInputs(**model, draw, inputs); !s.ok())
    return reportError(std::string(s.message()));

  RunOptions options;
  options.memoryBytes = uint64_t(args.number("--max-memory", 8192)) << 20;
  std::vector<std::string> table;
  std::string dumpDir = args.value("--dump-dir");
  bool stats = args.has("--stats") || !dumpDir.empty(), watch = args.value("--watch") == "nan";
  if (args.has("--watch") && !watch)
    return reportError("--watch knows nan only");
  if (!dumpDir.empty())
    mkdir(dumpDir.c_str(), 0777);
  options.observeBodies = watch;
  if (stats || watch)
    options.observe = [&](const Value &v, const Datum &d) -> absl::Status {
      if (stats) {
        table.push_back(statsLine(v.name(), d));
        if (!dumpDir.empty() && d.isTensor() && !d.tensor.isString())
          if (absl::Status s = writeNpy(dumpDir + "/" + fileName(v.name()) + ".npy", d.tensor); !s.ok())
            return s;
      }
      if (watch && d.isTensor() && isFloating(d.tensor.type()) && statsOf(d.tensor).nan)
        return absl::AbortedError("'" + v.name().str() + "' is the first value with a NaN, made by " +
                                  (v.producer() ? pathOf(*v.producer()) : "an input"));
      return absl::OkStatus();
    };
  Executor executor(**model, options);
  auto outputs = executor.run(inputs);
  const char *header = "name\tdtype\tshape\tmin\tmax\tmean\tnan\tinf";
  if (stats) {
    std::string text = std::string(header) + "\n";
    for (const std::string &line : table)
      text += line + "\n";
    if (args.has("--stats"))
      std::fputs(text.c_str(), stdout);
    if (!dumpDir.empty())
      if (std::FILE *f = std::fopen((dumpDir + "/values.tsv").c_str(), "w")) {
        std::fputs(text.c_str(), f);
        std::fclose(f);
      }
  }
  if (!outputs.ok())
    return reportError(std::string(outputs.status().message()));
  if (!args.has("--stats") && !args.has("--benchmark")) {
    std::printf("%s\n", header);
    for (unsigned i = 0; i < outputs->size(); ++i)
      std::printf("%s\n", statsLine(g.outputs()[i].name, (*outputs)[i]).c_str());
  }
  if (args.has("--output-dir")) {
    std::string dir = args.value("--output-dir");
    mkdir(dir.c_str(), 0777);
    for (unsigned i = 0; i < outputs->size(); ++i)
      if ((*outputs)[i].isTensor())
        if (absl::Status s = writeNpy(dir + "/" + fileName(g.outputs()[i].name) + ".npy", (*outputs)[i].tensor);
            !s.ok())
          return reportError(std::string(s.message()));
  }
  if (args.has("--benchmark")) {
    std::vector<double> times;
    Executor timed(**model);
    for (int64_t i = 0; i < int64_t(args.number("--benchmark", 1)) + 1; ++i) {
      auto start = std::chrono::steady_clock::now();
      if (auto r = timed.run(inputs); !r.ok())
        return reportError(std::string(r.status().message()));
      if (i) // the first run warms up
        times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    std::sort(times.begin(), times.end());
    std::printf("median of %zu runs: %.3f ms\n", times.size(), times.empty() ? 0 : times[times.size() / 2]);
  }
  if (args.has("--compare")) {
    Context otherContext;
    auto other = readModel(otherContext, args.value("--compare"));
    if (!other.ok())
      return reportError(std::string(other.status().message()));
    Executor otherExecutor(**other);
    auto theirs = otherExecutor.run(inputs);
    if (!theirs.ok())
      return reportError(std::string(theirs.status().message()));
    bool same = theirs->size() == outputs->size();
    for (unsigned i = 0; same && i < outputs->size(); ++i) {
      Difference d = compare((*theirs)[i], (*outputs)[i], tolerance);
      if (!d.equal) {
        std::printf("different: output '%s' %s\n", g.outputs()[i].name.str().c_str(), d.what.c_str());
        same = false;
      }
    }
    if (!same)
      return 1;
    std::printf("equal within rtol %g, atol %g\n", tolerance.relative, tolerance.absolute);
  }
  return 0;
}
