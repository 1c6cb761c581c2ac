// RegexFullMatch, whose syntax is RE2's.
#include "onnxopt/ops/support/Kernels.h"
#include "onnxopt/ops/support/Rules.h"

#ifdef ONNXOPT_HAVE_RE2
#include <re2/re2.h>
#endif

using namespace onnxopt;
using namespace onnxopt::kernels;
using namespace onnxopt::rules;

static absl::Status evalRegexFullMatch(EvalContext &ctx) {
#ifdef ONNXOPT_HAVE_RE2
  const Tensor &x = ctx.in(0);
  re2::RE2 pattern(ctx.getString("pattern"), re2::RE2::Quiet);
  if (!pattern.ok())
    return invalid(ctx, "pattern: " + pattern.error());
  ONNXOPT_ASSIGN(y, ctx.allocate(ElementType::Bool, x.dims()));
  for (int64_t i = 0; i < x.size(); ++i)
    y.mutableData<uint8_t>()[i] = re2::RE2::FullMatch(x.strings()[i], pattern);
  ctx.set(0, std::move(y));
  return absl::OkStatus();
#else
  return absl::UnimplementedError(pathOf(ctx.node()) + ": built without RE2");
#endif
}
ONNXOPT_DEFINE_OP(RegexFullMatch) {
  op.since(20, {.infer = sameShape<ElementType::Bool>, .eval = evalRegexFullMatch, .storage = Storage::Native});
}
