// Arbitrary bytes as a model: import, verify, optimize, export and read again. Never a crash.
#include "onnxopt/ir/Import.h"
#include "onnxopt/ir/Export.h"
#include "onnxopt/passes/PassManager.h"
#include "onnxopt/verifier/Verifier.h"

using namespace onnxopt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Context context;
  context.limits.nodes = 1000;
  auto model = importModel(context, FileSource::memory(std::string(reinterpret_cast<const char *>(data), size)), "");
  if (!model.ok())
    return 0;
  std::vector<Diagnostic> found = verify(**model);
  auto bytes = serializeModel(**model);
  if (bytes.ok()) {
    Context again;
    if (!importModel(again, FileSource::memory(*bytes), "").ok())
      __builtin_trap(); // what we write, we read
  }
  if (hasErrors(found))
    return 0;
  PassRegistry registry;
  PassManager manager(registry);
  PassContext ctx(**model);
  if (!manager.parse(pipelineO2()).ok())
    __builtin_trap();
  manager.instrumentation.proveChanged = false;
  (void)manager.run(**model, ctx);
  return 0;
}
