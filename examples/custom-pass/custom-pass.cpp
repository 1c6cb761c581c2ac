// onnx-opt with one more pass: relu-to-clip writes Relu(x) as Clip(x, 0).
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

} // namespace

int main(int argc, char **argv) {
  onnxopt::PassRegistry registry;
  registry.add({"relu-to-clip", "write Relu as Clip", "", [] { return std::make_unique<ReluToClip>(); }});
  return onnxopt::onnxOptMain(argc, argv, registry);
}
