// Cases of single nodes.
#include "OperatorCases.h"

#include "onnxopt/exec/Inputs.h"
#include "onnxopt/ir/text/Parser.h"

namespace onnxopt {
namespace {

/// Cases that the backend suite lacks: a signature, values of the inputs, one node. Sequences are written as the tensor
/// that they hold; what a body reads has the type on trial.
const char *const moreCases[] = {
    "(float[1,2,3] x) <float[1,2,3] x = {1,2,3,4,5,6}> => GlobalLpPool <p = 2> (x)",
    "(float[1,1,3,3] x, float[1,5] rois) <float[1,1,3,3] x = {1,2,3,4,5,6,7,8,9}, float[1,5] rois = {0,0,0,2,2}> => "
    "MaxRoiPool <pooled_shape = [2, 2]> (x, rois)",
    "(float[1,3] x) <float[1,3] x = {1,2,3}> => Multinomial <dtype = 6> (x)",
    "(float[2] x) <float[2] x = {1,2}> => Optional (x)",
    "() <> => RandomNormal <shape = [2]> ()",
    "() <> => RandomUniform <shape = [2]> ()",
    "(float[2] x) <float[2] x = {1,2}> => RandomNormalLike <dtype = 1> (x)",
    "(float[2] x) <float[2] x = {1,2}> => RandomUniformLike <dtype = 1> (x)",
    "(float[2] x) <float[2] x = {1,2}> => SequenceConstruct (x, x)",
    "(float[2] x, int64 at) <float[2] x = {1,2}, int64 at = {0}> => SequenceAt (x, at)",
    "(float[2] x, int64 at) <float[2] x = {1,2}, int64 at = {0}> => SequenceErase (x, at)",
    "(float[2] x) <float[2] x = {1,2}> => SequenceLength (x)",
    "(float[2] x) <float[2] x = {1,2}> => ConcatFromSequence <axis = 0> (x)",
    "() <> => SequenceEmpty <dtype = 1> ()",
    "(float[4] x) <float[4] x = {1,2,3,4}> => SplitToSequence (x)",
    "(float[2] x) <float[2] x = {1,2}> => OptionalGetElement (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Imputer <imputed_value_floats = [0.5], "
    "replaced_value_float = 1.0> (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Imputer <imputed_value_int64s = [5], "
    "replaced_value_int64 = 1> (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Normalizer <norm = \"L1\"> (x)",
    "(float[1,2] x) <float[1,2] x = {1,2}> => ai.onnx.ml.Scaler <offset = [0.5], scale = [2.0]> (x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_int64s = [1, 2], values_floats = [1.5, 2.5]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_floats = [1.0, 2.0], values_int64s = [3, 4]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_strings = [\"1\", \"2\"], values_int64s = [3, "
    "4]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_int64s = [1, 2], values_strings = [\"a\", "
    "\"b\"]> "
    "(x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <classes_strings = [\"1\", \"2\"]> (x)",
    "(map(int64, float) m) <> => ai.onnx.ml.CastMap (m)",
    "(map(int64, string) m) <> => ai.onnx.ml.CastMap <cast_to = \"TO_STRING\"> (m)",
    "(string[2] x) <string[2] x = {\"a\", \"c\"}> => ai.onnx.ml.CategoryMapper <cats_int64s = [2], cats_strings = "
    "[\"a\"]> "
    "(x)",
    "(map(int64, float) m) <> => ai.onnx.ml.CastMap <cast_to = \"TO_INT64\"> (m)",
    "(map(int64, float) m) <> => ai.onnx.ml.CastMap <cast_to = \"TO_STRING\", map_form = \"SPARSE\", max_map = 4> (m)",
    "(map(int64, float) m) <> => ai.onnx.ml.DictVectorizer <int64_vocabulary = [1, 0, 5]> (m)",
    "(map(int64, double) m) <> => ai.onnx.ml.DictVectorizer <int64_vocabulary = [1, 0, 5]> (m)",
    "(map(int64, string) m) <> => ai.onnx.ml.DictVectorizer <int64_vocabulary = [1, 0, 5]> (m)",
    "(map(string, float) m) <> => ai.onnx.ml.DictVectorizer <string_vocabulary = [\"b\", \"z\"]> (m)",
    "(map(string, double) m) <> => ai.onnx.ml.DictVectorizer <string_vocabulary = [\"b\", \"z\"]> (m)",
    "(map(string, int64) m) <> => ai.onnx.ml.DictVectorizer <string_vocabulary = [\"b\", \"z\"]> (m)",
    "(int64[2] x) <int64[2] x = {1,2}> => ai.onnx.ml.CategoryMapper <cats_int64s = [2, 3], cats_strings = [\"a\", "
    "\"b\"]> "
    "(x)",
    "(int64[2] x) <int64[2] x = {1,2}> => ai.onnx.ml.OneHotEncoder <cats_int64s = [2, 3]> (x)",
    "(string[2] x) <string[2] x = {\"a\", \"c\"}> => ai.onnx.ml.OneHotEncoder <cats_strings = [\"a\", \"b\"]> (x)",
    "(float[1,2] x, float[1,3] y) <float[1,2] x = {1,2}, float[1,3] y = {3,4,5}> => ai.onnx.ml.FeatureVectorizer "
    "<inputdimensions = [2, 3]> (x, y)",
    "(float[2,2] x) <float[2,2] x = {1,2,3,4}> => ai.onnx.ml.ZipMap <classlabels_int64s = [4, 2]> (x)",
    "(float[2,2] x) <float[2,2] x = {1,2,3,4}> => ai.onnx.ml.ZipMap <classlabels_strings = [\"p\", \"q\"]> (x)",
    "(float[2,2] x) <float[2,2] x = {1,2,3,4}> => ai.onnx.ml.LinearRegressor <coefficients = [0.5, 2.0, 1.0, -1.0], "
    "intercepts = [1.0, 0.0], targets = 2> (x)",
    "(float[2,2] x) <float[2,2] x = {1,2,3,4}> => ai.onnx.ml.LinearClassifier 2 <classlabels_ints = [3, 5], "
    "coefficients = "
    "[0.5, -2.0], intercepts = [1.0]> (x)",
    "(float[2,2] x) <float[2,2] x = {1,2,3,4}> => ai.onnx.ml.LinearClassifier 2 <classlabels_strings = [\"p\", \"q\"], "
    "coefficients = [0.5, -2.0, 1.0, 1.0], intercepts = [1.0, 0.0]> (x)",
    "(float[2,2] x) <float[2,2] x = {1,2,3,4}> => ai.onnx.ml.SVMRegressor <coefficients = [0.5, -2.0], rho = [1.0]> "
    "(x)",
    "(float[2,1] x) <float[2,1] x = {1,2}> => ai.onnx.ml.SVMClassifier 2 <classlabels_ints = [3, 5], coefficients = "
    "[0.5, "
    "-2.0], rho = [0.5], support_vectors = [1.0, 2.0], vectors_per_class = [1, 1], kernel_type = \"RBF\", "
    "kernel_params = "
    "[0.5, 0.0, 0.0]> (x)",
    "(float[2,1] x) <float[2,1] x = {1,2}> => ai.onnx.ml.SVMClassifier 2 <classlabels_strings = [\"p\", \"q\"], "
    "coefficients = [0.5, -2.0], rho = [0.5]> (x)",
    "(float[2,1] x) <float[2,1] x = {1,2}> => ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1, nodes_featureids = [0, "
    "0, 0], nodes_modes = [\"BRANCH_LEQ\", \"LEAF\", \"LEAF\"], nodes_nodeids = [0, 1, 2], "
    "nodes_treeids = [0, 0, 0], nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0], nodes_values = [1.5, "
    "0.0, 0.0], "
    "target_treeids = [0, 0], target_nodeids = [1, 2], target_ids = [0, 0], target_weights = [1.0, 2.0]> (x)",
    "(float[2,1] x) <float[2,1] x = {1,2}> => ai.onnx.ml.TreeEnsembleClassifier 2 <classlabels_int64s = [3, 5], "
    "nodes_featureids = [0, 0, 0], nodes_modes = [\"BRANCH_LEQ\", \"LEAF\", \"LEAF\"], nodes_nodeids = [0, 1, 2], "
    "nodes_treeids = [0, 0, 0], nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0], nodes_values = [1.5, "
    "0.0, 0.0], "
    "class_treeids = [0, 0], class_nodeids = [1, 2], class_ids = [0, 1], class_weights = [1.0, 2.0]> (x)",
    "(float[2,1] x) <float[2,1] x = {1,2}> => ai.onnx.ml.TreeEnsembleClassifier 2 <classlabels_strings = [\"p\", "
    "\"q\"], nodes_featureids = [0, 0, 0], nodes_modes = [\"BRANCH_LEQ\", \"LEAF\", \"LEAF\"], nodes_nodeids = [0, 1, "
    "2], "
    "nodes_treeids = [0, 0, 0], nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0], nodes_values = [1.5, "
    "0.0, 0.0], "
    "class_treeids = [0, 0], class_nodeids = [1, 2], class_ids = [1, 1], class_weights = [1.0, 2.0]> (x)",
    "(float[1,2] x, float[2] b) <float[1,2] x = {1,2}, float[2] b = {1,2}> => com.microsoft.BiasGelu (x, b)",
    "(float[2] x) <float[2] x = {1,2}> => com.microsoft.Gelu (x)",
    "(float[2] x) <float[2] x = {1,2}> => com.microsoft.FastGelu (x)",
    "(float[2] x) <float[2] x = {1,2}> => com.microsoft.QuickGelu (x)",
    "(float[1,2] x, float[2,1] y) <float[1,2] x = {1,2}, float[2,1] y = {1,2}> => com.microsoft.FusedMatMul (x, y)",
    "(float[1,2] x, float[2,1] y) <float[1,2] x = {1,2}, float[2,1] y = {1,2}> => com.microsoft.TransposeMatMul (x, y)",
    "(float[1,2] x, float[2] s) <float[1,2] x = {1,2}, float[2] s = {1,2}> => SimplifiedLayerNormalization 2 (x, s)",
    "(float[1,2] x, float[2] s) <float[1,2] x = {1,2}, float[2] s = {1,2}> => SimplifiedLayerNormalization 2 "
    "<stash_type = 11> (x, s)",
    "(float[2] x, float s) <float[2] x = {1,2}, float s = {2}> => com.microsoft.QuantizeLinear (x, s)",
    "(float[2] x, float s, uint8 z) <float[2] x = {1,2}, float s = {2}, uint8 z = {1}> => com.microsoft.QuantizeLinear "
    "(x, "
    "s, z)",
    "(int8[2] x, float s) <int8[2] x = {1,2}, float s = {2}> => com.microsoft.DequantizeLinear (x, s)",
    "(uint8[1,2] a, uint8[2,1] b, float s, float t) <uint8[1,2] a = {1,2}, uint8[2,1] b = {1,2}, float s = {1}, float "
    "t = "
    "{2}> => com.microsoft.MatMulIntegerToFloat (a, b, s, t)",
    "(float[1,1,2] x, float[1,1,2] skip, float[2] g) <float[1,1,2] x = {1,2}, float[1,1,2] skip = {1,3}, float[2] g = "
    "{1,1}> => com.microsoft.SkipLayerNormalization 3 (x, skip, g)",
    "(float[1,1,2] x, float[1,1,2] skip, float[2] g) <float[1,1,2] x = {1,2}, float[1,1,2] skip = {1,3}, float[2] g = "
    "{1,1}> => com.microsoft.SkipSimplifiedLayerNormalization 3 (x, skip, g)",
    "(float[2] x, bool c) <float[2] x = {1,2}, bool c = {1}> => If <then_branch = t () => (p) { p = Identity (x) }, "
    "else_branch = e () => (q) { q = Identity (x) }> (c)",
    "(float[2] x, int64 m, bool c) <float[2] x = {1,2}, int64 m = {2}, bool c = {1}> => Loop <body = b (int64 i, bool "
    "k, v) "
    "=> (k2, w) { k2 = Identity (k) w = Identity (v) }> (m, c, x)",
    "(float[2] x) <float[2] x = {1,2}> => Scan <num_scan_inputs = 1, body = b (v) => (w) { w = Identity (v) }> (x)",
    "(float[1,2] x, int64[1] n) <float[1,2] x = {1,2}, int64[1] n = {2}> => Scan <num_scan_inputs = 1, body = b (v) => "
    "(w) "
    "{ w = Identity (v) }> (n, x)",
    "(float[2] x, float[2] roi, float[1] s) <float[2] x = {1,2}, float[2] roi = {0,1}, float[1] s = {2}> => Resize (x, "
    "roi, "
    "s)",
    "(float[2] x, float[1] s) <float[2] x = {1,2}, float[1] s = {2}> => Resize (x, s)",
    "(float[2] x) <float[2] x = {1,2}> => Upsample <scales = [2.0]> (x)",
    "(float[2] x, float n, float a) <float[2] x = {1,2}, float n = {2}, float a = {0}> => Tile (x, n, a)",
    "(float[2] x) <float[2] x = {1,2}> => Pad <paddings = [1, 1]> (x)",
    "(float[1,4,1] x, int64 n) <float[1,4,1] x = {1,2,3,4}, int64 n = {4}> => DFT (x, n)",
    "(float[1,1,1] x, float[1,3,1] w, float[1,3,1] r, int32[1] n) <float[1,1,1] x = {1}, float[1,3,1] w = {1,2,3}, "
    "float[1,3,1] r = {1,2,3}, int32[1] n = {1}> => GRU 2 <hidden_size = 1> (x, w, r, \"\", n)",
    "(float[1,1,1] x, float[1,1,1] w, float[1,1,1] r, int32[1] n) <float[1,1,1] x = {1}, float[1,1,1] w = {1}, "
    "float[1,1,1] r = {1}, int32[1] n = {1}> => RNN 2 <hidden_size = 1> (x, w, r, \"\", n)",
    "(float[1,2] x, float[2] s) <float[1,2] x = {1,2}, float[2] s = {1,1}> => LayerNormalization 3 (x, s)",
    "(uint8[1,1,2] x, float s, uint8 z, uint8[1,1,1] w, int32[1] b) <uint8[1,1,2] x = {1,2}, float s = {1}, uint8 z = "
    "{0}, "
    "uint8[1,1,1] w = {2}, int32[1] b = {1}> => QLinearConv (x, s, z, w, s, z, s, z, b)",
    "(uint8[2] x) <uint8[2] x = {1,2}> => BitCast <to = 2> (x)",
    "(int16[2] x) <int16[2] x = {1,2}> => BitCast <to = 4> (x)",
    "(float[2] x) <float[2] x = {1,2}> => BitCast <to = 12> (x)",
    "(int4[2] x) <int4[2] x = {1,2}> => BitCast <to = 21> (x)",
    "(int2[2] x) <int2[2] x = {1,0}> => BitCast <to = 25> (x)",
    "(float[2] x) <float[2] x = {1,2}> => BitCast <to = 15> (x)",
    "(float[2] x, bool c) <float[2] x = {1,2}, bool c = {1}> => If <then_branch = t () => (p) { p = SequenceErase (x) "
    "}, "
    "else_branch = e () => (q) { q = SequenceErase (x) }> (c)",
    "(float[2] x, int64 m, bool c) <float[2] x = {1,2}, int64 m = {1}, bool c = {1}> => Loop <body = b (int64 i, bool "
    "k, v) "
    "=> (k2, w) { k2 = Identity (k) w = SequenceErase (v) }> (m, c, x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_tensor: tensor = int64[2] {1,2}, "
    "values_tensor: "
    "tensor = double[2] {3,4}> (x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_tensor: tensor = int64[2] {1,2}, "
    "values_tensor: "
    "tensor = int32[2] {3,4}> (x)",
    "(float[2] x) <float[2] x = {1,2}> => ai.onnx.ml.LabelEncoder <keys_tensor: tensor = int64[2] {1,2}, "
    "values_tensor: "
    "tensor = int16[2] {3,4}> (x)",
    "(float[1,1,1] x, int8[1,1,4] w, int8[1,1,4] r, int32[1] n, float[1] s, int8[1] z) <float[1,1,1] x = {1}, "
    "int8[1,1,4] w "
    "= {1,2,3,4}, int8[1,1,4] r = {1,2,3,4}, int32[1] n = {1}, float[1] s = {1}, int8[1] z = {0}> => "
    "com.microsoft.DynamicQuantizeLSTM <hidden_size = 1> (x, w, r, \"\", n, \"\", \"\", \"\", s, z, s, z)",
    "(int64[2] x) <int64[2] x = {1,2}> => BitCast <to = 13> (x)",
};

/// One of `moreCases` as a model with inputs.
Case parseCase(Context &context, llvm::StringRef text) {
  auto [head, node] = text.split(" => ");
  auto [inputs, values] = head.split(" <");
  values.consume_back(">");
  auto [op, rest] = node.split(' ');
  unsigned results = 1;
  if (rest.size() > 1 && std::isdigit(rest[0]) && rest[1] == ' ') {
    results = rest[0] - '0';
    rest = rest.drop_front(2);
  }
  std::string names;
  for (unsigned i = 0; i < results; ++i)
    names += (i ? ", r" : "r") + std::to_string(i);
  std::string domain = op.contains('.') ? op.rsplit('.').first.str() : "";
  std::string model = "<ir_version: 10, opset_import: [\"" + domain + "\" : 1" + (domain.empty() ? "" : ", \"\" : 17") +
                      "]> g " + inputs.str() + " => (" + names + ")" +
                      (values.empty() ? "" : " <" + values.str() + ">") + " { " + names + " = " + op.str() +
                      rest.str() + " }";
  auto m = parseText(context, model);
  EXPECT_TRUE(m.ok()) << m.status().message() << "\n" << model;
  Case c;
  if (!m.ok())
    return c;
  c.model = std::move(*m);
  for (const auto &v : c.model->graph().inputs())
    if (v->initializer())
      c.inputs[v->name().str()] = Datum(*v->initializer()->read());
  const absl::Status drawn = exec::drawInputs(*c.model, {}, c.inputs); // maps have no initializers
  EXPECT_TRUE(drawn.ok()) << drawn.message() << "\n" << model;
  return c;
}

} // namespace

std::map<std::string, std::vector<Loader>> casesByOperator() {
  std::map<std::string, std::vector<Loader>> byOperator;
  auto add = [&](const Loader &load) {
    Context c;
    Case k = load(c);
    if (!k.model)
      return;
    Graph &g = k.model->graph();
    if (!g.nodes().empty() && std::next(g.nodes().begin()) == g.nodes().end())
      byOperator[(g.nodes().front().domain() + "." + g.nodes().front().opType()).str()].push_back(load);
  };
  for (const char *text : moreCases)
    add([text](Context &c) { return parseCase(c, text); });
  for (const std::string &name : cases())
    add([name](Context &c) { return readCase(c, name); });
  return byOperator;
}

} // namespace onnxopt
