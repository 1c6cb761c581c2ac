// onnx-opt with one more pass, relu-to-clip, and one more operator, custom::Twice.
#include "onnxopt/tools/OptMain.h"

namespace {

class ReluToClip : public onnxopt::Pass {
public:
  absl::StatusOr<bool> run(onnxopt::Model &model, onnxopt::PassContext &) override {
    onnxopt::Rewriter rewriter(model.context());
    onnxopt::Graph &g = model.graph();
    for (auto it = g.nodes().begin(); it != g.nodes().end();) {
      onnxopt::Node &n = *it++;
      if (!n.is("Relu") || onnxopt::opsetVersion(n) < 11)
        continue;
      onnxopt::Value *zero =
          rewriter.createConstant(g, &n, onnxopt::Tensor::scalar<float>(onnxopt::ElementType::Float, 0), "zero");
      onnxopt::Node *clip = rewriter.create(g, &n, "Clip", "", {n.operand(0), zero}, 1, {&n});
      clip->result()->setName(n.result()->name());
      rewriter.replace(&n, {clip->result()});
    }
    return rewriter.changes() > 0;
  }
};

// y = 2 x, for float: the shape is the operand's, and the kernel makes it foldable and refereed.
absl::Status evalTwice(onnxopt::EvalContext &ctx) {
  auto y = ctx.allocate(ctx.in(0).type(), ctx.in(0).dims());
  if (!y.ok())
    return y.status();
  for (int64_t i = 0; i < y->size(); ++i)
    y->mutableData<float>()[i] = 2 * ctx.in(0).data<float>()[i];
  ctx.set(0, std::move(*y));
  return absl::OkStatus();
}
void inferTwice(onnxopt::InferContext &ctx) { ctx.setType(0, ctx.type(0)); }

void addOperators(onnxopt::OpRegistry &ops) {
  ops.add("custom", "Twice").since(1, {.infer = inferTwice, .eval = evalTwice, .elementwise = true});
}

} // namespace

int main(int argc, char **argv) {
  onnxopt::PassRegistry registry;
  registry.add({"relu-to-clip", "write Relu as Clip", "", [] { return std::make_unique<ReluToClip>(); }});
  return onnxopt::onnxOptMain(argc, argv, registry, addOperators);
}
