// One entry for each version of an operator whose nodes mean something else, or are spelled otherwise, than before.
// The rule of each is the "changed" part of the version's page in ONNX's Changelog.md.
#include "onnxopt/passes/opset/Adapters.h"

#include <cmath>

namespace onnxopt {
namespace {

// Attributes that became operands.

/// Operand `at` from a list of whole numbers; absent where the list is.
void listToOperand(Node &n, OpsetRaiser &r, llvm::StringRef attribute, unsigned at, bool evenEmpty = false) {
  const std::vector<int64_t> values = NodeView(n).getInts(attribute);
  r.drop(n, attribute);
  if (!values.empty() || evenEmpty)
    r.setOperand(n, at, r.constant(n, Tensor::vector(values), attribute));
}

std::string squeezeObstacle(const Node &n, OpsetRaiser &) {
  return n.attribute("axes") && NodeView(n).getInts("axes").empty()
             ? "axes is an empty list, which some runtimes take for all axes of size 1"
             : "";
}
void axesToOperand(Node &n, OpsetRaiser &r) { listToOperand(n, r, "axes", 1, n.is("Unsqueeze")); }
void splitToOperand(Node &n, OpsetRaiser &r) { listToOperand(n, r, "split", 1); }
/// Split-18 wants either the sizes or the number of outputs.
void splitCounts(Node &n, OpsetRaiser &r) {
  if (!n.operand(1))
    r.setAttribute(n, makeAttribute("num_outputs", int64_t(n.numResults())));
}
void sliceToOperands(Node &n, OpsetRaiser &r) {
  listToOperand(n, r, "starts", 1, true);
  listToOperand(n, r, "ends", 2, true);
  listToOperand(n, r, "axes", 3);
}
void topKToOperand(Node &n, OpsetRaiser &r) {
  const int64_t k = NodeView(n).getInt("k");
  r.drop(n, "k");
  r.setOperand(n, 1, r.constant(n, Tensor::vector({k}), "k"));
}
void reshapeToOperand(Node &n, OpsetRaiser &r) {
  listToOperand(n, r, "shape", 1, true);
  r.drop(n, "consumed_inputs");
}

std::string elementObstacle(const Node &n, OpsetRaiser &r) {
  return r.typeOf(n.operand(0)).hasElement()
             ? ""
             : "the element type of operand 0, which the new operands must share, is not known";
}
void padToOperands(Node &n, OpsetRaiser &r) {
  const float value = NodeView(n).getFloat("value");
  listToOperand(n, r, "pads", 1, true);
  r.drop(n, "value");
  if (value != 0 || std::signbit(value))
    r.setOperand(n, 2, r.scalar(n, value, r.typeOf(n.operand(0)).element, "value"));
}
void padName(Node &n, OpsetRaiser &r) {
  std::vector<int64_t> pads = NodeView(n).getInts("paddings");
  r.drop(n, "paddings");
  r.setAttribute(n, makeAttribute("pads", pads));
}
void clipToOperands(Node &n, OpsetRaiser &r) {
  unsigned at = 1;
  for (llvm::StringRef name : {"min", "max"}) {
    if (const Attribute *a = n.attribute(name)) {
      float bound = a->asFloat();
      r.drop(n, name);
      r.setOperand(n, at, r.scalar(n, bound, r.typeOf(n.operand(0)).element, name));
    }
    ++at;
  }
}

std::string ratioObstacle(const Node &n, OpsetRaiser &) {
  const Attribute *a = n.attribute("ratio");
  return a && !(a->asFloat() >= 0 && a->asFloat() < 1) ? "the ratio must be from 0 to 1" : "";
}
void ratioToOperand(Node &n, OpsetRaiser &r) {
  const Attribute *a = n.attribute("ratio");
  if (!a)
    return;
  float ratio = a->asFloat();
  r.drop(n, "ratio");
  r.setOperand(n, 1, r.scalar(n, ratio, ElementType::Float, "ratio"));
}

void dftAxis(Node &n, OpsetRaiser &r) {
  const int64_t axis = n.attribute("axis") ? n.attribute("axis")->asInt() : 1; // DFT-17's default
  r.drop(n, "axis");
  r.setOperand(n, 2, r.constant(n, Tensor::scalar<int64_t>(ElementType::Int64, axis), "axis"));
}

// Training, inference, broadcasting and other attributes that went.

void dropConsumed(Node &n, OpsetRaiser &r) { r.drop(n, "consumed_inputs"); }

std::string isTestObstacle(const Node &n, OpsetRaiser &) {
  const Attribute *a = n.attribute("is_test");
  return a && a->asInt() ? "" : "it trains (is_test is 0), which the later version does not express";
}
std::string statisticsObstacle(const Node &n, OpsetRaiser &) {
  for (unsigned i = 1; i < n.numResults(); ++i)
    if (n.result(i)->hasUses())
      return "result " + std::to_string(i) + ", a statistic of training, is used";
  return "";
}
std::string batchNormalizationObstacle(const Node &n, OpsetRaiser &r) {
  std::string why = isTestObstacle(n, r);
  return why.empty() ? statisticsObstacle(n, r) : why;
}
void dropIsTest(Node &n, OpsetRaiser &r) {
  r.drop(n, "is_test");
  r.drop(n, "consumed_inputs");
}
std::string maskObstacle(const Node &n, OpsetRaiser &) {
  return n.numResults() > 1 && n.result(1)->hasUses() ? "the mask, which became bool, is used" : "";
}
void oneResult(Node &n, OpsetRaiser &) {
  while (n.numResults() > 1)
    n.dropLastResult();
}
std::string spatialObstacle(const Node &n, OpsetRaiser &) {
  const Attribute *a = n.attribute("spatial");
  return a && a->asInt() != 1 ? "spatial = 0 was dropped" : "";
}
void dropSpatial(Node &n, OpsetRaiser &r) { r.drop(n, "spatial"); }
/// Before version 7 the second operand was laid along `axis` of the first, and only where `broadcast` is set.
std::string broadcastObstacle(const Node &n, OpsetRaiser &r) {
  const Attribute *broadcast = n.attribute("broadcast");
  if (!broadcast || !broadcast->asInt() || !n.attribute("axis"))
    return "";
  auto a = r.rankOf(n.operand(0)), b = r.rankOf(n.operand(1));
  if (!a || !b)
    return "the operands' ranks, which axis counts by, are not known";
  int64_t axis = n.attribute("axis")->asInt();
  axis += axis < 0 ? int64_t(*a) : 0;
  return axis < 0 || axis + *b > *a ? "operand 1 does not fit at axis " + std::to_string(axis) : std::string();
}
void broadcastFromRight(Node &n, OpsetRaiser &r) {
  if (const Attribute *broadcast = n.attribute("broadcast"); broadcast && broadcast->asInt() && n.attribute("axis")) {
    int64_t a = int64_t(*r.rankOf(n.operand(0))), b = int64_t(*r.rankOf(n.operand(1)));
    int64_t axis = n.attribute("axis")->asInt();
    axis += axis < 0 ? a : 0;
    std::vector<int64_t> trailing;
    for (int64_t i = b; i < a - axis; ++i)
      trailing.push_back(i);
    if (!trailing.empty()) {
      Node *u = r.create(n, "Unsqueeze", {n.operand(1)});
      r.setAttribute(*u, makeAttribute("axes", trailing));
      r.setOperand(n, 1, u->result());
    }
  }
  for (llvm::StringRef name : {"axis", "broadcast"})
    r.drop(n, name);
}
void dropBroadcast(Node &n, OpsetRaiser &r) { r.drop(n, "broadcast"); }

std::string slopeObstacle(const Node &n, OpsetRaiser &r) {
  auto x = r.rankOf(n.operand(0)), slope = r.rankOf(n.operand(1));
  if (!x || !slope)
    return "the operands' ranks, which tell what the slope belongs to, are not known";
  return *slope > 1 ? "the slope has rank " + std::to_string(*slope) + ", 1 is needed" : std::string();
}
/// PRelu-1: one slope, or one for each channel. Later: the slope is broadcast from the right.
void slopePerChannel(Node &n, OpsetRaiser &r) {
  size_t x = *r.rankOf(n.operand(0));
  if (*r.rankOf(n.operand(1)) != 1 || x < 3)
    return;
  std::vector<int64_t> trailing;
  for (size_t i = 1; i + 1 < x; ++i)
    trailing.push_back(int64_t(i));
  Node *u = r.create(n, "Unsqueeze", {n.operand(1)});
  r.setAttribute(*u, makeAttribute("axes", trailing));
  r.setOperand(n, 1, u->result());
}

std::string powerObstacle(const Node &n, OpsetRaiser &) {
  const Attribute *p = n.attribute("p");
  if (p && p->asFloat() != std::floor(p->asFloat()))
    return "the power, which became a whole number, is none";
  return n.is("LpPool") && !n.attribute("kernel_shape") ? "kernel_shape, which became required, is absent" : "";
}
void wholePower(Node &n, OpsetRaiser &r) {
  if (const Attribute *p = n.attribute("p")) {
    int64_t whole = int64_t(p->asFloat());
    r.drop(n, "p");
    r.setAttribute(n, makeAttribute("p", whole));
  }
}

std::string castObstacle(const Node &n, OpsetRaiser &) {
  const Attribute *to = n.attribute("to");
  return to && to->type == AttributeType::String && elementTypeFromName(to->asString().lower())
             ? ""
             : "the name of the type cannot be read";
}
void castByNumber(Node &n, OpsetRaiser &r) {
  int64_t type = int64_t(*elementTypeFromName(n.attribute("to")->asString().lower()));
  r.drop(n, "to");
  r.setAttribute(n, makeAttribute("to", type));
}

std::string sequenceObstacle(const Node &n, OpsetRaiser &) {
  return n.attribute("output_sequence") ? "output_sequence was dropped" : "";
}

// Operators whose meaning changed.

/// Until version 13 all axes from `axis` on counted as one.
int64_t softmaxAxis(const Node &n) { return n.attribute("axis") ? n.attribute("axis")->asInt() : 1; }
bool isAlongLastAxis(const Node &n, const OpsetRaiser &r) {
  auto rank = r.rankOf(n.operand(0));
  return softmaxAxis(n) == -1 || (rank && softmaxAxis(n) == int64_t(*rank) - 1);
}
std::string softmaxObstacle(const Node &n, OpsetRaiser &r) {
  return !isAlongLastAxis(n, r) && r.target() < 14
             ? "it runs over several axes at once; with opset 14 it can be written"
             : "";
}
void softmaxAlongOneAxis(Node &n, OpsetRaiser &r) {
  if (isAlongLastAxis(n, r))
    return r.setAttribute(n, makeAttribute("axis", int64_t(-1)));
  Node *flat = r.create(n, "Flatten", {n.operand(0)});
  r.setAttribute(*flat, makeAttribute("axis", softmaxAxis(n)));
  Node *softmax = r.create(n, n.opType(), {flat->result()});
  r.setAttribute(*softmax, makeAttribute("axis", int64_t(-1)));
  Node *shape = r.create(n, "Shape", {n.operand(0)});
  Node *back = r.create(n, "Reshape", {softmax->result(), shape->result()});
  r.setAttribute(*back, makeAttribute("allowzero", int64_t(1))); // since 14: empty operands keep their shape
  r.replace(n, back->result());
}

void scatterElements(Node &n, OpsetRaiser &r) {
  Node *s = r.create(n, "ScatterElements", {n.operand(0), n.operand(1), n.operand(2)});
  if (const Attribute *axis = n.attribute("axis"))
    r.setAttribute(*s, makeAttribute("axis", axis->asInt()));
  r.replace(n, s->result());
}

void upsampleScales(Node &n, OpsetRaiser &r) {
  std::vector<float> scales = NodeView(n).getFloats("scales");
  r.drop(n, "scales");
  Tensor t(ElementType::Float, {int64_t(scales.size())});
  std::copy(scales.begin(), scales.end(), t.mutableData<float>());
  r.setOperand(n, 1, r.constant(n, std::move(t), "scales"));
}
void upsampleToResize(Node &n, OpsetRaiser &r) {
  Node *resize = r.create(n, "Resize", {n.operand(0), n.operand(1)});
  r.setAttribute(*resize, makeAttribute("mode", NodeView(n).getString("mode", "nearest")));
  r.replace(n, resize->result());
}

/// Scales that are constant, else null.
std::optional<Tensor> constantScales(const Node &n) {
  auto c = constantOf(n.operand(1));
  auto t = c ? c->read() : absl::StatusOr<Tensor>(absl::NotFoundError(""));
  return t.ok() && t->type() == ElementType::Float ? std::optional(*t) : std::nullopt;
}
/// Resize-10 takes the element before where it enlarges and the one after where it shrinks (as onnxruntime does; the
/// standard does not say). One attribute speaks for all axes later.
std::string resizeObstacle(const Node &n, OpsetRaiser &) {
  if (NodeView(n).getString("mode", "nearest") != "nearest")
    return "";
  auto scales = constantScales(n);
  if (!scales)
    return "it takes nearest elements by scales that are not constant";
  bool up = false, down = false;
  for (int64_t i = 0; i < scales->size(); ++i)
    (scales->data<float>()[i] >= 1 ? up : down) |= scales->data<float>()[i] != 1;
  return up && down ? "it takes nearest elements along one axis that grows and one that shrinks" : "";
}
void resizeByAsymmetricCoordinates(Node &n, OpsetRaiser &r) {
  bool shrinks = false;
  if (NodeView(n).getString("mode", "nearest") == "nearest") {
    if (auto scales = constantScales(n))
      for (int64_t i = 0; i < scales->size(); ++i)
        shrinks |= scales->data<float>()[i] < 1;
    r.setAttribute(n, makeAttribute("nearest_mode", std::string(shrinks ? "ceil" : "floor")));
  }
  Value *scales = n.operand(1);
  r.setOperand(n, 1, r.constant(n, Tensor(ElementType::Float, {0}), "roi"));
  r.setOperand(n, 2, scales);
  r.setAttribute(n, makeAttribute("coordinate_transformation_mode", std::string("asymmetric")));
}
std::string resizeModeObstacle(const Node &n, OpsetRaiser &) {
  const Attribute *a = n.attribute("coordinate_transformation_mode");
  return a && a->asString() == "tf_half_pixel_for_nn" ? "tf_half_pixel_for_nn was dropped" : "";
}

void roiAlignCoordinates(Node &n, OpsetRaiser &r) {
  r.setAttribute(n, makeAttribute("coordinate_transformation_mode", std::string("output_half_pixel")));
}

void gridSampleMode(Node &n, OpsetRaiser &r) {
  std::string mode = n.attribute("mode") ? n.attribute("mode")->asString().str() : "bilinear";
  r.setAttribute(n, makeAttribute("mode", mode == "bilinear" ? "linear" : mode == "bicubic" ? "cubic" : mode));
}

std::string scanObstacle(const Node &, OpsetRaiser &) { return "its operands and results are laid out otherwise"; }
std::string groupsObstacle(const Node &, OpsetRaiser &) {
  return "scale and bias, one for each group, became one for each channel";
}
std::string rangeObstacle(const Node &n, OpsetRaiser &r) {
  const ElementType e = r.typeOf(n.operand(0)).element;
  return e == ElementType::Undefined || isSmallFloat(e) ? "small floats are summed up in another type" : "";
}

const OpsetAdapter adapters[] = {
    {"BatchNormalization", 6, "", nullptr, dropConsumed},
    {"BatchNormalization", 7, "is_test", batchNormalizationObstacle, dropIsTest},
    {"BatchNormalization", 9, "spatial", spatialObstacle, dropSpatial},
    {"BatchNormalization", 14, "", statisticsObstacle, oneResult},
    {"Cast", 6, "to", castObstacle, castByNumber},
    {"Clip", 11, "min max", elementObstacle, clipToOperands},
    {"DFT", 20, "axis", nullptr, dftAxis},
    {"Dropout", 7, "is_test", isTestObstacle, dropIsTest},
    {"Dropout", 10, "", maskObstacle, nullptr},
    {"Dropout", 12, "ratio", ratioObstacle, ratioToOperand},
    {"GRU", 7, "", sequenceObstacle, nullptr},
    {"Gemm", 7, "", nullptr, dropBroadcast},
    {"GlobalLpPool", 2, "p", powerObstacle, wholePower},
    {"GridSample", 20, "mode", nullptr, gridSampleMode},
    {"GroupNormalization", 21, "", groupsObstacle, nullptr},
    {"Hardmax", 13, "axis", softmaxObstacle, softmaxAlongOneAxis},
    {"LSTM", 7, "", sequenceObstacle, nullptr},
    {"LogSoftmax", 13, "axis", softmaxObstacle, softmaxAlongOneAxis},
    {"LpPool", 2, "p", powerObstacle, wholePower},
    {"PRelu", 7, "", slopeObstacle, slopePerChannel},
    {"Pad", 2, "paddings", nullptr, padName},
    {"Pad", 11, "pads value", elementObstacle, padToOperands},
    {"RNN", 7, "", sequenceObstacle, nullptr},
    {"Range", 27, "", rangeObstacle, nullptr},
    {"ReduceL1", 18, "axes", nullptr, axesToOperand},
    {"ReduceL2", 18, "axes", nullptr, axesToOperand},
    {"ReduceLogSum", 18, "axes", nullptr, axesToOperand},
    {"ReduceLogSumExp", 18, "axes", nullptr, axesToOperand},
    {"ReduceMax", 18, "axes", nullptr, axesToOperand},
    {"ReduceMean", 18, "axes", nullptr, axesToOperand},
    {"ReduceMin", 18, "axes", nullptr, axesToOperand},
    {"ReduceProd", 18, "axes", nullptr, axesToOperand},
    {"ReduceSum", 13, "axes", nullptr, axesToOperand},
    {"ReduceSumSquare", 18, "axes", nullptr, axesToOperand},
    {"Reshape", 5, "shape", nullptr, reshapeToOperand},
    {"Resize", 11, "mode", resizeObstacle, resizeByAsymmetricCoordinates},
    {"Resize", 13, "coordinate_transformation_mode", resizeModeObstacle, nullptr},
    {"RoiAlign", 16, "", nullptr, roiAlignCoordinates},
    {"Scan", 9, "", scanObstacle, nullptr},
    {"Scatter", 11, "axis", nullptr, scatterElements},
    {"Slice", 10, "starts ends axes", nullptr, sliceToOperands},
    {"Softmax", 13, "axis", softmaxObstacle, softmaxAlongOneAxis},
    {"Split", 13, "split", nullptr, splitToOperand},
    {"Split", 18, "", nullptr, splitCounts},
    {"Squeeze", 13, "axes", squeezeObstacle, axesToOperand},
    {"TopK", 10, "k", nullptr, topKToOperand},
    {"Unsqueeze", 13, "axes", nullptr, axesToOperand},
    {"Upsample", 9, "scales", nullptr, upsampleScales},
    {"Upsample", 10, "mode", nullptr, upsampleToResize},
};
const OpsetAdapter consumed = {"", 6, "", nullptr, dropConsumed},
                   broadcast = {"", 7, "axis broadcast", broadcastObstacle, broadcastFromRight};

} // namespace

const OpsetAdapter *adapterFor(llvm::StringRef op, int64_t since) {
  for (const OpsetAdapter &a : adapters)
    if (a.op == op && a.since == since)
      return &a;
  if (since == 7 &&
      llvm::is_contained({"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"}, op))
    return &broadcast;
  if (since == 6 && schema::lookup("", op, 5) && schema::lookup("", op, 5).attribute("consumed_inputs"))
    return &consumed;
  return nullptr;
}

} // namespace onnxopt
