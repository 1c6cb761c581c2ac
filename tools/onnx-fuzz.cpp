// onnx-fuzz: random valid models through every pass, compared on the reference executor.
#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/text/Printer.h"
#include "onnxopt/ops/support/FastMath.h"
#include "onnxopt/tools/CommandLine.h"
#include "onnxopt/tools/differential/Check.h"
#include "onnxopt/tools/differential/Isolated.h"
#include "onnxopt/tools/differential/Reducer.h"
#include "onnxopt/tools/differential/Steps.h"

#include <chrono>
#include <filesystem>
#include <unistd.h>

using namespace onnxopt;
using namespace onnxopt::differential;

namespace {

const char *const kUsage = R"(usage: onnx-fuzz [options]

Builds random valid models, one for each seed, sends each through every pass and through -O1 and -O2, and compares the
results on the reference executor, bit for bit unless a legal rewrite may round. Exit code 1 when something was found.

  --seed=N          the first seed (default 0)
  --count=N         how many models (default 1000)
  --seconds=S       stop after S seconds
  --seeds=DIR       parts to build from: models, and folders of the backend suite; may be given more than once
  --steps=N         at most N steps of growth for each model (default 10)
  --passes=LIST     this pipeline only
  -o DIR            write each finding, reduced, to DIR as .onnxtxt
  --write=DIR       write each model with its inputs and outputs to DIR, for other referees; check nothing
  --no-reduce       leave findings as they are
  --statistics      print how often each operator was used, and why it was refused
)";

/// The fast paths of the kernels start threads, which a fork would leave behind: only children use them.
Isolated apart(unsigned seconds, const std::function<std::string()> &body) {
  return isolated(seconds, [&] {
    fastmath::setEnabled(true);
    return body();
  });
}

struct Job {
  Seeds seeds;
  PassRegistry registry;
  CheckOptions checks;
  GeneratorOptions generator;
};

/// Text of a finding in one line, for the way between processes.
std::string oneLine(const Finding &f) {
  std::string what = f.what;
  std::replace(what.begin(), what.end(), '\n', ' ');
  return f.kind + "\t" + f.pipeline + "\t" + what;
}

std::optional<Finding> examine(const Job &job, uint64_t seed, Coverage &coverage) {
  Context context;
  GeneratorOptions options = job.generator;
  options.seed = seed;
  auto example = generate(context, options, job.seeds, coverage);
  if (!example.ok()) {
    if (example.status().code() == absl::StatusCode::kNotFound)
      return std::nullopt;
    return Finding{"generator", "", std::string(example.status().message())};
  }
  return check(*example, job.checks, job.registry);
}

/// Seeds [first, first + count) in one process: findings as lines "F seed kind pipeline what", coverage as "K" and "R".
std::string batch(const Job &job, uint64_t first, uint64_t count) {
  std::string text;
  Coverage coverage;
  for (uint64_t seed = first; seed < first + count; ++seed)
    if (auto f = examine(job, seed, coverage))
      text += "F\t" + std::to_string(seed) + "\t" + oneLine(*f) + "\n";
  for (const auto &[op, n] : coverage.kept)
    text += "K\t" + op + "\t" + std::to_string(n) + "\n";
  for (const auto &[op, reasons] : coverage.refused)
    for (const auto &[why, n] : reasons) {
      std::string line = why;
      std::replace(line.begin(), line.end(), '\n', ' ');
      text += "R\t" + op + "\t" + std::to_string(n) + "\t" + line + "\n";
    }
  return text;
}

struct Tally {
  std::vector<std::pair<uint64_t, Finding>> findings;
  Coverage coverage;
};

void read(llvm::StringRef text, Tally &tally) {
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    text = rest;
    llvm::SmallVector<llvm::StringRef, 5> f;
    line.split(f, '\t');
    uint64_t n = 0;
    if (f.size() == 5 && f[0] == "F" && !f[1].getAsInteger(10, n))
      tally.findings.push_back({n, {f[2].str(), f[3].str(), f[4].str()}});
    else if (f.size() == 3 && f[0] == "K" && !f[2].getAsInteger(10, n))
      tally.coverage.kept[f[1].str()] += unsigned(n);
    else if (f.size() == 4 && f[0] == "R" && !f[2].getAsInteger(10, n))
      tally.coverage.refused[f[1].str()][f[3].str()] += unsigned(n);
  }
}

/// Finds out which seed of a batch ended the process.
void examineOneByOne(const Job &job, uint64_t first, uint64_t count, Tally &tally) {
  for (uint64_t seed = first; seed < first + count; ++seed) {
    Isolated one = apart(20, [&] { return batch(job, seed, 1); });
    if (one.finished)
      read(one.text, tally);
    else
      tally.findings.push_back({seed, {"crash", "", one.text}});
  }
}

/// The code of a diagnostic in `what`, if there is one.
llvm::StringRef codeIn(llvm::StringRef what) {
  size_t at = what.find("ONNX-");
  return at == llvm::StringRef::npos ? "" : what.drop_front(at).take_until([](char c) { return c == ':'; });
}

/// Same kind of fault by the same pipeline, with the same code.
bool isSameFault(const Isolated &run, const Finding &f) {
  if (f.kind == "crash")
    return !run.finished && run.text == f.what;
  llvm::SmallVector<llvm::StringRef, 3> parts;
  llvm::StringRef(run.text).split(parts, '\t');
  return run.finished && parts.size() == 3 && parts[0] == f.kind && parts[1] == f.pipeline &&
         codeIn(parts[2]) == codeIn(f.what);
}

/// The model of `seed`; where building it crashes, the model whose trial run does.
absl::StatusOr<Example> build(const Job &job, uint64_t seed, Context &context, bool crashes) {
  Coverage coverage;
  GeneratorOptions options = job.generator;
  options.seed = seed;
  if (crashes) {
    std::string log = std::filesystem::temp_directory_path().string() + "/onnx-fuzz-" + std::to_string(getpid());
    auto trial = [&](unsigned n) {
      (void)writeFileAtomically(log, std::to_string(n));
      return true;
    };
    options.beforeTrial = trial;
    bool whole = apart(20, [&] {
                   Context scratch;
                   return generate(scratch, options, job.seeds, coverage).ok() ? "1" : "";
                 }).finished;
    unsigned last = 0;
    if (auto text = exec::readFile(log); text.ok())
      (void)llvm::StringRef(*text).getAsInteger(10, last);
    std::filesystem::remove(log);
    options.beforeTrial = {};
    if (!whole)
      options.beforeTrial = [last](unsigned n) { return n < last; };
  }
  return generate(context, options, job.seeds, coverage);
}

void writeReduced(const Job &job, uint64_t seed, const Finding &f, const std::string &directory, bool shrink) {
  Context context;
  auto example = build(job, seed, context, f.kind == "crash");
  if (!example.ok())
    return;
  CheckOptions checks = job.checks;
  if (!f.pipeline.empty())
    checks.pipelines = {f.pipeline};
  if (shrink) {
    Reduction r = reduce(*example, [&](const Example &candidate) {
      return isSameFault(apart(10,
                               [&] {
                                 auto found = check(candidate, checks, job.registry);
                                 return found ? oneLine(*found) : "";
                               }),
                         f);
    });
    std::fprintf(stderr, "  reduced to %llu nodes (%u of %u tries)\n", (unsigned long long)countNodes(*example->model),
                 r.kept, r.tried);
  }
  auto text = printText(*example->model);
  if (!text.ok())
    return;
  std::string path = directory + "/" + f.kind + "-" + std::to_string(seed) + ".onnxtxt";
  std::string head = "# onnx-fuzz, seed " + std::to_string(seed) + ": " + f.kind +
                     (f.pipeline.empty() ? "" : " after --passes='" + f.pipeline + "'") + "\n# " + f.what + "\n";
  if (absl::Status s = writeFileAtomically(path, head + *text); !s.ok())
    reportError(std::string(s.message()));
  else
    std::fprintf(stderr, "  %s\n", path.c_str());
}

/// One folder for each seed: model.onnx, after -O2 (or --passes) optimized.onnx, inputs and outputs as .npy, and the
/// names of outputs that rounding may move.
int writeAll(const Job &job, uint64_t first, uint64_t count, const std::string &root, const std::string &pipeline) {
  unsigned written = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    Isolated run = apart(20, [&]() -> std::string {
      Context context;
      Coverage coverage;
      GeneratorOptions options = job.generator;
      options.seed = seed;
      auto e = generate(context, options, job.seeds, coverage);
      if (!e.ok())
        return "";
      std::string folder = root + "/" + std::to_string(seed);
      std::filesystem::create_directories(folder);
      auto outputs = exec::Executor(*e->model).run(e->inputs);
      if (!outputs.ok() || !writeModel(*e->model, folder + "/model.onnx").ok())
        return "";
      for (const auto &[name, d] : e->inputs)
        if (!exec::writeNpy(folder + "/in_" + name + ".npy", d.tensor).ok())
          return "";
      std::string unsure;
      for (size_t i = 0; i < outputs->size(); ++i) {
        std::string name = e->model->graph().outputs()[i].name.str();
        if (e->fragile.count(name) || e->open.count(name))
          unsure += "fragile " + name + "\n";
        else if (e->inexact.count(name))
          unsure += "inexact " + name + "\n";
        if ((*outputs)[i].isTensor() && !(*outputs)[i].tensor.isString())
          (void)exec::writeNpy(folder + "/out_" + name + ".npy", (*outputs)[i].tensor);
      }
      (void)writeFileAtomically(folder + "/rounding.txt", unsure);
      PassManager manager(job.registry);
      PassContext ctx(*e->model);
      (void)manager.parse(pipeline + ",legalize-outputs"); // main has seen that it is one
      if (auto done = manager.run(*e->model, ctx); done.ok() || absl::IsFailedPrecondition(done.status()))
        (void)writeModel(*e->model, folder + "/optimized.onnx");
      return "1";
    });
    written += run.finished && run.text == "1";
  }
  std::printf("%u models written to %s\n", written, root.c_str());
  return 0;
}

void printStatistics(const Coverage &c) {
  for (const auto &[op, n] : c.kept)
    std::printf("%6u  %s\n", n, op.c_str());
  for (const auto &[op, reasons] : c.refused)
    for (const auto &[why, n] : reasons)
      std::printf("refused %6u  %s: %s\n", n, op.c_str(), why.c_str());
}

} // namespace

int main(int argc, char **argv) {
  CommandLine args(argc, argv, {"--seed", "--count", "--seconds", "--seeds", "--steps", "--passes", "-o", "--write"},
                   {"--no-reduce", "--statistics", "--help"});
  if (!args.error().empty())
    return reportError(args.error());
  if (args.has("--help")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  fastmath::setEnabled(false);
  Job job;
  for (const std::string &directory : args.values("--seeds"))
    if (absl::Status s = job.seeds.add(directory); !s.ok())
      return reportError(std::string(s.message()));
  job.generator.steps = unsigned(args.number("--steps", 10));
  job.checks.pipelines = standardPipelines(job.registry);
  if (args.has("--passes")) {
    job.checks.pipelines = {args.value("--passes")};
    if (absl::Status s = PassManager(job.registry).parse(args.value("--passes")); !s.ok())
      return reportError(std::string(s.message()));
  }
  uint64_t first = uint64_t(args.number("--seed", 0)), count = uint64_t(args.number("--count", 1000)), done = 0;
  if (args.has("--write"))
    return writeAll(job, first, count, args.value("--write"), args.value("--passes", pipelineO2().str()));
  double limit = args.number("--seconds", 1e9);
  if (args.has("--seconds") && !args.has("--count"))
    count = UINT32_MAX;
  auto start = std::chrono::steady_clock::now();
  auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  Tally tally;
  for (constexpr uint64_t kBatch = 50; done < count && seconds() < limit;) {
    uint64_t n = std::min(kBatch, count - done);
    Isolated run = apart(120, [&] { return batch(job, first + done, n); });
    if (run.finished)
      read(run.text, tally);
    else
      examineOneByOne(job, first + done, n, tally);
    done += n;
  }
  std::set<std::string> shown;
  unsigned reduced = 0;
  for (const auto &[seed, f] : tally.findings) {
    std::fprintf(stderr, "seed %llu: %s: %s%s%s\n", (unsigned long long)seed, f.kind.c_str(), f.pipeline.c_str(),
                 f.pipeline.empty() ? "" : ": ", f.what.c_str());
    // One of each sort is reduced: the others may be the same fault.
    if (args.has("-o") && (f.kind == "crash" || shown.insert(f.kind + f.pipeline + f.what.substr(0, 40)).second) &&
        reduced++ < 40)
      writeReduced(job, seed, f, args.value("-o"), !args.has("--no-reduce"));
  }
  if (args.has("--statistics"))
    printStatistics(tally.coverage);
  std::printf("seeds %llu to %llu: %llu models, %zu operators, %zu findings, %.0f s\n", (unsigned long long)first,
              (unsigned long long)(first + done - 1), (unsigned long long)done, tally.coverage.kept.size(),
              tally.findings.size(), seconds());
  return tally.findings.empty() ? 0 : 1;
}
