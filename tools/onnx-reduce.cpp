// onnx-reduce: a smaller model that shows the same fault.
#include "onnxopt/exec/DataFiles.h"
#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/Import.h"
#include "onnxopt/ops/support/FastMath.h"
#include "onnxopt/tools/CommandLine.h"
#include "onnxopt/tools/differential/Check.h"
#include "onnxopt/tools/differential/Isolated.h"
#include "onnxopt/tools/differential/Reducer.h"

#include <filesystem>
#include <sys/wait.h>
#include <unistd.h>

using namespace onnxopt;
using namespace onnxopt::differential;

namespace {

const char *const kUsage = R"(usage: onnx-reduce [options] in.onnx -o small.onnxtxt

Shrinks a model as long as a fault stays: a pass that fails or changes the answers, an inferred shape that is wrong, a
crash. Or, with --script, as long as a command of yours says so.

  -o FILE             where the smallest model goes; text when it ends in .onnxtxt
  --passes=LIST       the pipeline that goes wrong (default: each pass, -O1 and -O2, until one does)
  --script=COMMAND    run with the path of a candidate as its argument; exit code 0 means that the fault is there
  --input NAME=FILE   an input, from .npy; others are drawn
  --seed=N            seed of drawn inputs
  --dim NAME=N        size of a symbolic dim for drawn inputs
  --seconds=N         CPU time that one candidate may take (default 20)
)";

std::string describe(const std::optional<Finding> &f) { return f ? f->kind + "\t" + f->pipeline + "\t" + f->what : ""; }

std::string runScript(const std::string &command, const Example &e) {
  std::string path =
      std::filesystem::temp_directory_path().string() + "/onnx-reduce-" + std::to_string(getpid()) + ".onnx";
  bool shows = false;
  if (writeModel(*e.model, path).ok()) {
    int status = std::system((command + " '" + path + "' >/dev/null 2>&1").c_str());
    shows = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  std::filesystem::remove(path);
  return shows ? "script" : "";
}

/// What is compared from one candidate to the next: the kind of fault and the pipeline, not the words.
std::string sortOf(const Isolated &run) {
  if (!run.finished)
    return "crash\t" + run.text;
  llvm::StringRef text = run.text;
  auto [kind, rest] = text.split('\t');
  return kind.str() + "\t" + rest.split('\t').first.str();
}

int run(const CommandLine &args) {
  fastmath::setEnabled(false); // its threads would not survive the forks
  const std::string in = args.positional()[0], out = args.value("-o");
  Context context;
  auto model = readModel(context, in);
  if (!model.ok())
    return reportError(std::string(model.status().message()));
  Example example;
  example.model = std::move(*model);
  exec::InputOptions draw;
  draw.seed = uint64_t(args.number("--seed", 0));
  for (const std::string &spec : args.values("--dim")) {
    auto [name, value] = llvm::StringRef(spec).split('=');
    if (value.getAsInteger(10, draw.dims[name.str()]))
      return reportError("--dim needs NAME=NUMBER, found '" + spec + "'");
  }
  for (const std::string &spec : args.values("--input")) {
    auto [name, path] = llvm::StringRef(spec).split('=');
    auto t = exec::readNpy(path.str());
    if (!t.ok())
      return reportError(std::string(t.status().message()));
    example.inputs[name.str()] = Datum(*t);
  }
  if (absl::Status s = exec::drawInputs(*example.model, draw, example.inputs); !s.ok())
    return reportError(std::string(s.message()));
  // Inputs are not of small whole numbers: float results may move where passes may round.
  for (const OutputSlot &o : example.model->graph().outputs())
    example.inexact.insert(o.name.str());

  PassRegistry registry;
  CheckOptions checks;
  checks.pipelines = standardPipelines(registry);
  if (args.has("--passes"))
    checks.pipelines = {args.value("--passes")};
  unsigned seconds = unsigned(args.number("--seconds", 20));
  auto look = [&](const Example &e) {
    return isolated(seconds, [&] {
      return args.has("--script") ? runScript(args.value("--script"), e) : describe(check(e, checks, registry));
    });
  };
  Isolated first = look(example);
  if (first.finished && first.text.empty())
    return reportError(args.has("--script") ? "the script says that the fault is not there"
                                            : "no fault was found: give --passes, --input, --dim or --script");
  std::string sort = sortOf(first);
  std::fprintf(stderr, "reducing %llu nodes: %s\n", (unsigned long long)countNodes(*example.model),
               (first.finished ? first.text : "crash: " + first.text).c_str());
  if (first.finished && !args.has("--script"))
    checks.pipelines = {llvm::StringRef(sort).split('\t').second.str()};
  if (checks.pipelines == std::vector<std::string>{""})
    checks.pipelines.clear();
  Reduction r = reduce(example, [&](const Example &e) { return sortOf(look(e)) == sort; });
  if (absl::Status s = writeModel(*example.model, out); !s.ok())
    return reportError(std::string(s.message()));
  std::fprintf(stderr, "%llu nodes are left (%u of %u tries helped): %s\n",
               (unsigned long long)countNodes(*example.model), r.kept, r.tried, out.c_str());
  for (const auto &[name, d] : example.inputs)
    std::fprintf(stderr, "input '%s' could not become a default: draw it with the same seed\n", name.c_str());
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  CommandLine args(argc, argv, {"-o", "--passes", "--script", "--input", "--seed", "--dim", "--seconds"}, {"--help"});
  if (!args.error().empty())
    return reportError(args.error());
  if (args.has("--help")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (args.positional().size() != 1 || !args.has("-o"))
    return reportError("one input file and -o are needed (--help lists the options)");
  return run(args);
}
