// Reading the command line, running the pipeline, checking and writing the result.
#include "onnxopt/tools/OptMain.h"

#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/Import.h"
#include "onnxopt/ir/text/Printer.h"
#include "onnxopt/passes/MemoryPlanner.h"
#include "onnxopt/passes/PassManager.h"
#include "onnxopt/tools/Assumptions.h"
#include "onnxopt/tools/CommandLine.h"
#include "onnxopt/tools/Reproducer.h"
#include "onnxopt/verifier/Report.h"
#include "onnxopt/verifier/Validate.h"
#include "onnxopt/verifier/Verifier.h"

#include <sys/stat.h>

namespace onnxopt {
namespace {

const char *const kUsage = R"(usage: onnx-opt [options] in.onnx [-o out.onnx]

Without -o the text form goes to standard output. Files named .onnxtxt are text.

  --passes=LIST            pipeline, as 'shape-infer,fixpoint(canonicalize,fold,cse,dce),fuse{calls=false}'
  -O1, -O2                 standard pipelines
  --opset=N                first raise the model to this opset (the pass convert-opset{to=N})
  --validate               run the original and the result on the reference executor and compare them
  --validate-each          the same after each pass
  --allow-unvalidated      write the result although nothing could be said (exit code 2 stays)
  --input NAME=FILE        an input for --validate, from .npy or .pb
  --seed N                 seed of drawn inputs
  --verify                 check the model and stop: structure, schemas, types, shapes, lint
  --verify-each            check the structure after each pass
  --diagnostics=FORMAT     findings as json or sarif on standard output
  --dim NAME=N             a symbolic dim of the inputs becomes a constant
  --shape INPUT=D,D,..     a new shape for an input, of sizes and names
  --range NAME=LO..HI      bounds of a symbolic dim
  --allow-empty            dims of inputs may be 0
  --freeze-input NAME=V    an input becomes a constant: a number for all elements, a list, or a .npy file
  --freeze-default-inputs  initializers that are also inputs count as constants
  --assume-pure=D[::OP]    unknown operators of a domain have no effects
  --external-data=MODE     keep (default), copy or inline
  --text=MODE              full (default), official or exact
  --elide=N                tensors of more than N elements print as '...'
  --report                 print what changed (on standard error)
  --remarks[=PASS]         print why something was or was not done
  --stats, --timing        counts and times of each pass
  --print-ir-before[=PASS], --print-ir-after[=PASS]   text form around passes (on standard error)
  --reproducer=FILE        where a failure is described (default: the output's name with .reproducer added)
  --roundtrip              write the model as it is, faults included; no pass
  --no-prove               do not check the passes' claims to have changed something
  --version                the version, and the opset that it was written for
  --help                   this text and all passes

Not there yet: --bisect.
)";

std::string shellQuoted(const std::string &word) {
  if (word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./,:") ==
      std::string::npos)
    return word;
  std::string out = "'";
  for (char c : word)
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string sizeText(uint64_t n) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer,
                n >= 10000000 ? "%.1f MB"
                : n >= 10000  ? "%.1f kB"
                              : "%.0f B",
                n >= 10000000 ? double(n) / 1e6
                : n >= 10000  ? double(n) / 1e3
                              : double(n));
  return buffer;
}

uint64_t nodesWithoutConstants(const Model &m) {
  uint64_t n = 0;
  forEachGraph(const_cast<Model &>(m), [&](Graph &g) {
    for (const Node &node : g.nodes())
      n += !node.is("Constant");
  });
  return n;
}

uint64_t fileSize(const std::string &path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 ? uint64_t(st.st_size) : 0;
}

void printRemarks(const PassContext &ctx, llvm::StringRef only) {
  for (const PassContext::Remark &r : ctx.remarks)
    if (only.empty() || r.pass == only)
      std::fprintf(stderr, "remark: %s: %s: %s\n", r.pass.c_str(), r.path.c_str(), r.text.c_str());
}

std::string peakText(Model &model, bool inplace, const DimBindings *binding) {
  Inference inference(model);
  inference.run();
  unsigned unknown = 0;
  InplaceDecisions decisions =
      inplace ? decideInplace(model.graph(), inference, [](const Node &, std::string) {}) : InplaceDecisions();
  DimContext &dims = model.context().dims();
  Dim peak = peakBytes(model.graph(), inference, decisions, unknown);
  std::string text = dims.print(peak) + " bytes";
  if (binding && !peak.isConstant()) {
    llvm::SmallVector<Dim, 4> symbols;
    dims.symbols(peak, symbols);
    DimBindings ones = *binding;
    for (Dim s : symbols)
      ones.try_emplace(s.symbolName().str(), 1);
    if (auto v = dims.evaluate(peak, ones))
      text += ", " + sizeText(uint64_t(*v)) + " with every dim 1";
  }
  if (unknown)
    text += " (" + std::to_string(unknown) + " values of unknown size not counted)";
  return text;
}

} // namespace

int onnxOptMain(int argc, char **argv, const PassRegistry &registry,
                const std::function<void(OpRegistry &)> &addOperators) {
  CommandLine args(argc, argv,
                   {"--passes", "--opset", "-o", "--input", "--seed", "--dim", "--shape", "--range", "--freeze-input",
                    "--assume-pure", "--external-data", "--text", "--elide", "--diagnostics", "--reproducer"},
                   {"-O1",
                    "-O2",
                    "--validate",
                    "--validate-each",
                    "--allow-unvalidated",
                    "--verify",
                    "--verify-each",
                    "--allow-empty",
                    "--freeze-default-inputs",
                    "--report",
                    "--remarks",
                    "--stats",
                    "--timing",
                    "--print-ir-before",
                    "--print-ir-after",
                    "--print-ir-before-all",
                    "--print-ir-after-all",
                    "--no-prove",
                    "--roundtrip",
                    "--version",
                    "--help"});
  if (!args.error().empty())
    return reportError(args.error());
  if (args.has("--version")) {
    std::printf("onnx-opt " ONNXOPT_VERSION " (ai.onnx %d, ai.onnx.ml %d)\n", kReviewedOpset, kReviewedMlOpset);
    return 0;
  }
  if (args.has("--help")) {
    std::printf("%s\npasses:\n", kUsage);
    for (const auto &[name, entry] : registry.entries()) {
      std::printf("  %-18s %s\n", name.c_str(), entry.description.c_str());
      llvm::SmallVector<llvm::StringRef, 4> lines;
      llvm::StringRef(entry.options).split(lines, '\n', -1, false);
      for (llvm::StringRef l : lines)
        std::printf("  %-18s   %s\n", "", l.str().c_str());
    }
    return 0;
  }
  if (args.positional().size() != 1)
    return reportError(args.positional().empty() ? "no input file (--help lists the options)"
                                                 : "one input file is needed");
  const std::string in = args.positional()[0], out = args.value("-o");
  std::string pipeline = args.value("--passes");
  if (args.has("-O1"))
    pipeline = pipelineO1().str();
  if (args.has("-O2"))
    pipeline = pipelineO2().str();
  if (args.has("--opset"))
    pipeline = "convert-opset{to=" + args.value("--opset") + "}" + (pipeline.empty() ? "" : "," + pipeline);
  ExportOptions exportOptions;
  std::string mode = args.value("--external-data", "keep");
  if (mode == "copy")
    exportOptions.external = ExternalDataMode::Copy;
  else if (mode == "inline")
    exportOptions.external = ExternalDataMode::Inline;
  else if (mode != "keep")
    return reportError("--external-data is keep, copy or inline, not '" + mode + "'");
  PassManager manager(registry);
  if (absl::Status s = manager.parse(pipeline); !s.ok())
    return reportError(std::string(s.message()));

  // The process ends with this function: freeing a million nodes one by one is left to it.
  static Context *keptContext = nullptr;
  static Model *keptModel = nullptr;
  keptContext = new Context;
  Context &context = *keptContext;
  if (addOperators)
    addOperators(operatorsOf(context));
  if (args.has("--allow-empty"))
    context.smallestInputDim = 0;
  for (const std::string &a : args.values("--assume-pure"))
    operatorsOf(context).assumedPure.push_back(a);
  auto read = readModel(context, in);
  if (!read.ok())
    return reportError(std::string(read.status().message()));
  keptModel = read->release();
  Model &model = *keptModel;
  const std::string format = args.value("--diagnostics");
  if (!format.empty() && format != "json" && format != "sarif")
    return reportError("--diagnostics is json or sarif, not '" + format + "'");
  auto tell = [&](llvm::ArrayRef<Diagnostic> found, bool errorsOnly) {
    if (!format.empty()) {
      std::fputs((format == "json" ? toJson(found) : toSarif(found, in)).c_str(), stdout);
      return;
    }
    for (const Diagnostic &d : found)
      if (!errorsOnly || d.severity == Severity::Error)
        std::fprintf(stderr, "%s\n", toString(d).c_str());
  };
  if (args.has("--verify")) {
    VerifierOptions options;
    options.lint = true;
    std::vector<Diagnostic> found = verify(model, options);
    tell(found, /*errorsOnly=*/false);
    return hasErrors(found) ? 1 : 0;
  }
  if (args.has("--roundtrip"))
    pipeline.clear();
  else if (!model.importErrors.empty() || !pipeline.empty()) {
    VerifierOptions options;
    options.shapes = false;
    std::vector<Diagnostic> found = verify(model, options);
    // What only the file's format version forbids is no reason to refuse: runtimes load such models.
    for (Diagnostic &d : found)
      if (d.code == "ONNX-MODEL-005")
        d.severity = Severity::Warning;
    if (hasErrors(found)) {
      tell(found, /*errorsOnly=*/true);
      return reportError(in + " is not a valid model" + (pipeline.empty() ? "" : "; no pass was run"));
    }
  }
  if (std::string why = applyAssumptions(model, args); !why.empty())
    return reportError(why);

  // The original, for comparisons: read again, so that passes cannot touch it.
  bool validating = args.has("--validate") || args.has("--validate-each");
  Context originalContext;
  if (addOperators)
    addOperators(operatorsOf(originalContext));
  originalContext.smallestInputDim = context.smallestInputDim;
  std::unique_ptr<Model> original;
  ValidationOptions validation;
  if (validating) {
    auto again = readModel(originalContext, in);
    if (!again.ok())
      return reportError(std::string(again.status().message()));
    original = std::move(*again);
    if (std::string why = applyAssumptions(*original, args); !why.empty())
      return reportError(why);
    validation.inputs.seed = uint64_t(args.number("--seed", 0));
    for (const std::string &spec : args.values("--input")) {
      auto [name, path] = llvm::StringRef(spec).split('=');
      absl::StatusOr<Datum> d = absl::InvalidArgumentError(path.str() + ": expected a .npy or .pb file");
      if (path.ends_with(".npy")) {
        auto t = exec::readNpy(path.str());
        if (t.ok())
          d = Datum(*t);
        else
          d = t.status();
      } else if (path.ends_with(".pb")) {
        for (const auto &v : original->graph().inputs())
          if (v->name() == name)
            d = exec::readPb(originalContext, path.str(), v->declaredType() ? *v->declaredType() : Type());
      }
      if (!d.ok())
        return reportError(std::string(d.status().message()));
      validation.given[name.str()] = *d;
    }
  }
  uint64_t nodesBefore = nodesWithoutConstants(model), bytesBefore = fileSize(in);
  bool report = args.has("--report");
  DimBindings ones;
  std::string peakBefore = report ? peakText(model, false, &ones) : "";

  PassContext ctx(model);
  Instrumentation &instrumentation = manager.instrumentation;
  instrumentation.verifyEach = args.has("--verify-each");
  // The proof hashes what export would write: cheap for usual models, not for a million nodes.
  instrumentation.proveChanged = !args.has("--no-prove") && (args.has("--verify-each") || args.has("--validate-each"));
  auto print = [&](const char *when, const std::string &pass, Model &m) {
    std::fprintf(stderr, "// ---- %s %s ----\n", when, pass.c_str());
    TextOptions text;
    text.elideAbove = 16;
    auto printed = printText(m, text);
    std::fputs(printed.ok() ? printed->c_str() : "(needs legalize-outputs before it can be printed)\n", stderr);
  };
  auto wanted = [&](const char *option, const std::string &pass) {
    return args.has(std::string(option) + "-all") ||
           (args.has(option) && (args.value(option).empty() || args.value(option) == pass));
  };
  std::string again;
  for (int i = 0; i < argc; ++i)
    again += (i ? " " : "") + shellQuoted(argv[i]);
  Reproducer reproducer(args.value("--reproducer", out.empty() ? "" : out + ".reproducer"), again, in);
  instrumentation.before = [&](const std::string &pass, Model &m) {
    reproducer.enter(pass);
    if (wanted("--print-ir-before", pass))
      print("before", pass, m);
  };
  auto legalized = [&](Model &m) -> absl::Status {
    auto pass = registry.create("legalize-outputs", {});
    if (!pass.ok())
      return pass.status();
    return (*pass)->run(m, ctx).status();
  };
  instrumentation.after = [&](const std::string &pass, Model &m, bool changed) -> absl::Status {
    if (wanted("--print-ir-after", pass))
      print("after", pass, m);
    if (!args.has("--validate-each") || !changed)
      return absl::OkStatus();
    Validation v = validate(*original, m, validation);
    if (v.verdict == Validation::Different)
      return absl::DataLossError("pass '" + pass + "' changed the model's answers: " + v.reason);
    return absl::OkStatus();
  };
  auto changed = manager.run(model, ctx);
  if (args.has("--remarks"))
    printRemarks(ctx, args.value("--remarks"));
  if (args.has("--timing"))
    for (const PassManager::Timing &t : manager.timings)
      std::fprintf(stderr, "%10.3f ms  %s%s\n", t.milliseconds, t.pass.c_str(), t.changed ? "" : " (no change)");
  if (args.has("--stats") || report)
    for (const auto &[pass, counts] : ctx.statistics)
      for (const auto &[what, n] : counts)
        if (n)
          std::fprintf(stderr, "%-18s %8llu  %s\n", pass.c_str(), (unsigned long long)n, what.c_str());
  if (!changed.ok()) {
    reproducer.write(std::string(changed.status().message()));
    return reportError(std::string(changed.status().message()));
  }
  if (!pipeline.empty())
    if (absl::Status s = legalized(model); !s.ok())
      return reportError(std::string(s.message()));
  if (!pipeline.empty()) {
    VerifierOptions options;
    options.shapes = false;
    for (const Diagnostic &d : verify(model, options))
      if (d.severity == Severity::Error && d.code != "ONNX-MODEL-005") {
        reproducer.write("left an invalid model: " + toString(d));
        return reportError("internal: the passes left an invalid model: " + toString(d));
      }
  }
  int code = 0;
  if (validating) {
    // Where in-place decisions were recorded, the result runs in its planned arena.
    bool planned = llvm::any_of(model.metadata, [](const StringPair &p) { return p.key == "onnxopt.peak_bytes"; });
    std::unique_ptr<Inference> inference;
    InplaceDecisions decisions;
    if (planned) {
      inference = std::make_unique<Inference>(model);
      inference->run();
      decisions = decideInplace(model.graph(), *inference, [](const Node &, std::string) {});
      validation.plan = [&](const DimBindings &b) {
        return std::optional(planMemory(model.graph(), *inference, decisions, b));
      };
    }
    Validation v = validate(*original, model, validation);
    switch (v.verdict) {
    case Validation::Validated:
      std::fprintf(stderr, "validated: %u runs%s, largest difference %.2g of an output's largest element%s%s\n", v.runs,
                   planned ? " in the planned arena" : "", v.largestDifference, v.reason.empty() ? "" : "; ",
                   v.reason.c_str());
      break;
    case Validation::Different:
      reproducer.write("different: " + v.reason);
      return reportError("different: " + v.reason + "; nothing was written");
    case Validation::NotValidated:
      std::fprintf(stderr, "not validated: %s\n", v.reason.c_str());
      code = 2;
      if (!args.has("--allow-unvalidated"))
        return code;
    }
  }
  if (out.empty()) {
    TextOptions text;
    std::vector<std::string> dropped;
    text.dropped = &dropped;
    std::string form = args.value("--text", "full");
    text.official = form == "official";
    text.exact = form == "exact";
    text.elideAbove = int64_t(args.number("--elide", -1));
    auto printed = printText(model, text);
    if (!printed.ok())
      return reportError(std::string(printed.status().message()));
    std::fputs(printed->c_str(), stdout);
    for (const std::string &d : dropped)
      std::fprintf(stderr, "dropped: %s\n", d.c_str());
  } else if (absl::Status s = writeModel(model, out, exportOptions); !s.ok()) {
    return reportError(std::string(s.message()));
  }
  if (report) {
    std::fprintf(stderr, "nodes (without Constant): %llu -> %llu\n", (unsigned long long)nodesBefore,
                 (unsigned long long)nodesWithoutConstants(model));
    if (!out.empty())
      std::fprintf(stderr, "bytes: %llu -> %llu\n", (unsigned long long)bytesBefore, (unsigned long long)fileSize(out));
    std::fprintf(stderr, "peak activation memory: %s -> %s\n", peakBefore.c_str(),
                 peakText(model, true, &ones).c_str());
  }
  return code;
}

} // namespace onnxopt
