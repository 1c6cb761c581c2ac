// From protobuf messages to IR objects.
#include "onnxopt/ir/Import.h"

#include "onnxopt/ir/ExternalData.h"
#include "onnxopt/ir/SmallFloat.h"
#include "onnxopt/ir/proto/ProtoWriter.h"
#include "onnxopt/ir/proto/Wire.h"
#include "onnxopt/ir/text/Parser.h"

#include "llvm/ADT/STLExtras.h"

#include "absl/strings/str_cat.h"

#include <cstring>
#include <unistd.h>

namespace onnxopt {
namespace {

class ProtoReader {
public:
  ProtoReader(Model &model, const std::string &path)
      : model_(model), context_(model.context()), writer_(context_, model.source), files_(path) {
    writer_.useRecords = false;
  }

  void model(pb::ModelProto &p);
  std::shared_ptr<TensorData> tensor(const pb::TensorProto &p, bool named);

private:
  using Scope = llvm::DenseMap<llvm::StringRef, Value *>;

  void error(llvm::StringRef code, const std::string &path, std::string message) {
    model_.importErrors.push_back({Severity::Error, code.str(), path, std::move(message)});
  }
  void warn(llvm::StringRef code, const std::string &path, std::string message) {
    model_.importWarnings.push_back({Severity::Warning, code.str(), path, std::move(message)});
  }
  Metadata pairs(const google::protobuf::RepeatedPtrField<pb::StringStringEntryProto> &from) {
    Metadata m;
    for (const auto &e : from)
      m.push_back({e.key(), e.value()});
    return m;
  }
  template <typename Proto> std::shared_ptr<const AsRead> record(const Proto &original, const Proto &canonical) {
    std::string bytes = canonical.SerializePartialAsString(), asIs = original.SerializePartialAsString();
    if (bytes == asIs)
      return nullptr;
    return std::make_shared<AsRead>(AsRead{std::move(asIs), fingerprint(bytes)});
  }

  Type type(const pb::TypeProto &p, unsigned depth = 0);
  Type tensorType(Type::Kind kind, int32_t element, const pb::TensorShapeProto *shape);
  std::unique_ptr<Type> valueInfo(const pb::ValueInfoProto &p, std::string &doc, Metadata &metadata,
                                  std::shared_ptr<const AsRead> &asRead);
  void declare(Value &v, const pb::ValueInfoProto &p);
  std::shared_ptr<SparseTensorData> sparse(const pb::SparseTensorProto &p, bool named);
  Attribute attribute(pb::AttributeProto &p, unsigned depth);
  void graph(Graph &g, pb::GraphProto &p, unsigned depth);
  void body(Graph &g, google::protobuf::RepeatedPtrField<pb::NodeProto> &nodes,
            const google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &infos, unsigned depth);
  void function(Function &f, pb::FunctionProto &p);
  void define(Value *v, const Graph &g, llvm::StringRef what);
  Value *resolve(llvm::StringRef name, Graph &g);
  void constant(Graph &g, Scope &inputs, llvm::StringRef name, int32_t index, std::shared_ptr<const TensorData> dense,
                std::shared_ptr<const SparseTensorData> sparse);

  Model &model_;
  Context &context_;
  ProtoWriter writer_;
  ExternalFiles files_;
  std::vector<Scope> scopes_;
  std::string scopeName_; // of dim symbols
  llvm::StringMap<Function *> functions_;
};

std::string functionKey(llvm::StringRef domain, llvm::StringRef name, llvm::StringRef overload) {
  return (domain + "\n" + name + "\n" + overload).str();
}

Type ProtoReader::tensorType(Type::Kind kind, int32_t element, const pb::TensorShapeProto *shape) {
  Type t = Type::tensor(static_cast<ElementType>(element));
  t.kind = kind;
  if (!shape)
    return t;
  t.ranked = true;
  DimContext &dims = context_.dims();
  for (const auto &d : shape->dim()) {
    if (d.has_dim_value() && d.dim_value() >= 0)
      t.dims.push_back(dims.constant(d.dim_value()));
    else if (d.has_dim_param())
      t.dims.push_back(dims.parse(scopeName_, d.dim_param(), context_.smallestInputDim));
    else
      t.dims.push_back(dims.fresh());
  }
  return t;
}

Type ProtoReader::type(const pb::TypeProto &p, unsigned depth) {
  if (depth > context_.limits.depth)
    return {};
  switch (p.value_case()) {
  case pb::TypeProto::kTensorType:
    return tensorType(Type::Tensor, p.tensor_type().elem_type(),
                      p.tensor_type().has_shape() ? &p.tensor_type().shape() : nullptr);
  case pb::TypeProto::kSparseTensorType:
    return tensorType(Type::Sparse, p.sparse_tensor_type().elem_type(),
                      p.sparse_tensor_type().has_shape() ? &p.sparse_tensor_type().shape() : nullptr);
  case pb::TypeProto::kSequenceType:
    return Type::sequenceOf(type(p.sequence_type().elem_type(), depth + 1));
  case pb::TypeProto::kOptionalType:
    return Type::optionalOf(type(p.optional_type().elem_type(), depth + 1));
  case pb::TypeProto::kMapType:
    return Type::mapOf(static_cast<ElementType>(p.map_type().key_type()), type(p.map_type().value_type(), depth + 1));
  case pb::TypeProto::kOpaqueType: {
    Type t;
    t.kind = Type::Opaque;
    t.opaqueDomain = p.opaque_type().domain();
    t.opaqueName = p.opaque_type().name();
    return t;
  }
  default:
    return {};
  }
}

std::unique_ptr<Type> ProtoReader::valueInfo(const pb::ValueInfoProto &p, std::string &doc, Metadata &metadata,
                                             std::shared_ptr<const AsRead> &asRead) {
  std::unique_ptr<Type> t;
  if (p.has_type())
    t = std::make_unique<Type>(type(p.type()));
  doc = p.doc_string();
  metadata = pairs(p.metadata_props());
  pb::ValueInfoProto original = p, canonical;
  if (!p.name().empty())
    original.clear_name();
  writer_.valueInfo("", t.get(), doc, metadata, nullptr, canonical);
  canonical.clear_name();
  asRead = record(original, canonical);
  return t;
}

void ProtoReader::declare(Value &v, const pb::ValueInfoProto &p) {
  std::string doc;
  Metadata metadata;
  std::shared_ptr<const AsRead> asRead;
  if (auto t = valueInfo(p, doc, metadata, asRead))
    v.setDeclaredType(std::move(*t));
  if (doc.empty() && metadata.empty() && !asRead)
    return;
  Value::Extra &e = v.extra();
  e.doc = std::move(doc);
  e.metadata = std::move(metadata);
  e.asRead = std::move(asRead);
}

std::shared_ptr<TensorData> ProtoReader::tensor(const pb::TensorProto &p, bool named) {
  auto t = std::make_shared<TensorData>();
  t->type = static_cast<ElementType>(p.data_type());
  t->dims.assign(p.dims().begin(), p.dims().end());
  t->doc = p.doc_string();
  if (!named)
    t->name = p.name();
  auto problem = [&](std::string what) {
    if (t->problem.empty())
      t->problem = "tensor '" + p.name() + "': " + what;
  };
  for (const auto &e : p.external_data())
    t->external.push_back({e.key(), e.value()});
  auto count = elementCount(t->dims);
  const std::optional<uint64_t> bytes = byteSize(t->type, count.value_or(0));
  int payloads = p.has_raw_data() + (p.float_data_size() > 0) + (p.int32_data_size() > 0) + (p.int64_data_size() > 0) +
                 (p.uint64_data_size() > 0) + (p.double_data_size() > 0) + (p.string_data_size() > 0) +
                 p.has_onnxopt_blob();
  bool isExternal = p.has_data_location() && p.data_location() == pb::TensorProto::EXTERNAL;
  if (!isExternal)
    t->external.clear();
  auto unsupported = [&] { problem(absl::StrCat("element type ", p.data_type(), " cannot hold this payload")); };
  auto expectElements = [&](int64_t have) {
    if (have != *count)
      problem(absl::StrCat(have, " elements, dims need ", *count));
    return have == *count;
  };
  auto warnOfRest = [&](uint64_t have) {
    if (have > *bytes)
      warn("ONNX-TENSOR-002", pathOf(model_.graph()),
           absl::StrCat("tensor '", p.name(), "': raw_data has ", have, " bytes, dims need ", *bytes,
                        "; some runtimes refuse that"));
  };
  if (!count) {
    problem("a dimension is negative, or their product overflows");
  } else if (t->type == ElementType::String) {
    if (isExternal)
      problem("strings cannot be external data");
    else if (p.has_raw_data())
      problem("strings cannot be raw_data");
    else if (expectElements(p.string_data_size())) {
      t->inMemory = Tensor(ElementType::String, t->dims);
      t->inMemory.mutableStrings().assign(p.string_data().begin(), p.string_data().end());
    }
  } else if (!bytes) {
    problem(absl::StrCat("unknown element type ", p.data_type()));
  } else if (payloads > 1) {
    problem("more than one payload field");
  } else if (isExternal) {
    if (payloads)
      problem("external data and a payload of its own");
    auto resolved = files_.resolve(t->external, *bytes);
    if (resolved.ok() && resolved->source && resolved->source->links() > 1)
      warn("ONNX-TENSOR-003", pathOf(model_.graph()),
           "tensor '" + p.name() + "': " + resolved->source->path() + " is a hard link, its data may belong elsewhere");
    if (resolved.ok())
      t->payload = *resolved;
    else
      problem(std::string(resolved.status().message()));
  } else if (p.has_onnxopt_blob()) {
    wire::Blob b = wire::Blob::decode(p.onnxopt_blob());
    t->payload = {model_.source, b.offset, b.size, Payload::Raw};
    if (b.field == 9) {
      if (b.size < *bytes)
        problem(absl::StrCat("raw_data has ", b.size, " bytes, dims need ", *bytes));
      warnOfRest(b.size);
    } else {
      t->payload.encoding = b.field == 4    ? Payload::Floats
                            : b.field == 5  ? Payload::VarintInt32
                            : b.field == 7  ? Payload::VarintInt64
                            : b.field == 10 ? Payload::Doubles
                                            : Payload::VarintUint64;
      if ((b.field == 4 && t->type != ElementType::Float && t->type != ElementType::Complex64) ||
          (b.field == 10 && t->type != ElementType::Double && t->type != ElementType::Complex128) ||
          (b.field == 7 && t->type != ElementType::Int64) || (b.field == 5 && bitWidth(t->type) > 32) ||
          (b.field == 11 && t->type != ElementType::Uint64 && t->type != ElementType::Uint32))
        unsupported();
      else if ((b.field == 4 || b.field == 10) && b.size != *bytes)
        problem(absl::StrCat("payload has ", b.size, " bytes, dims need ", *bytes));
    }
  } else if (p.has_raw_data()) {
    if (p.raw_data().size() < *bytes) {
      problem(absl::StrCat("raw_data has ", p.raw_data().size(), " bytes, dims need ", *bytes));
    } else {
      t->inMemory = Tensor(t->type, t->dims);
      std::memcpy(t->inMemory.mutableBytes(), p.raw_data().data(), *bytes);
      warnOfRest(p.raw_data().size());
    }
  } else if (!payloads && *count) {
    problem(absl::StrCat("no elements, dims need ", *count));
  } else {
    // Small typed payloads; each element type has one field of its own.
    Tensor out;
    auto elements = [&] { // once the payload is seen to have them all
      out = Tensor(t->type, t->dims);
      return out.mutableBytes();
    };
    if (p.float_data_size()) {
      if (t->type != ElementType::Float && t->type != ElementType::Complex64)
        unsupported();
      else if (uint64_t(p.float_data_size()) * 4 != *bytes)
        problem(absl::StrCat(p.float_data_size(), " numbers, dims need ", *bytes / 4));
      else
        std::memcpy(elements(), p.float_data().data(), *bytes);
    } else if (p.double_data_size()) {
      if (t->type != ElementType::Double && t->type != ElementType::Complex128)
        unsupported();
      else if (uint64_t(p.double_data_size()) * 8 != *bytes)
        problem(absl::StrCat(p.double_data_size(), " numbers, dims need ", *bytes / 8));
      else
        std::memcpy(elements(), p.double_data().data(), *bytes);
    } else if (p.int64_data_size()) {
      if (t->type != ElementType::Int64)
        unsupported();
      else if (expectElements(p.int64_data_size()))
        std::memcpy(elements(), p.int64_data().data(), *bytes);
    } else if (p.uint64_data_size()) {
      if (t->type != ElementType::Uint64 && t->type != ElementType::Uint32)
        unsupported();
      else if (expectElements(p.uint64_data_size())) {
        char *to = elements();
        for (int64_t i = 0; i < *count; ++i) {
          uint64_t v = p.uint64_data(i);
          std::memcpy(to + i * (bitWidth(t->type) / 8), &v, bitWidth(t->type) / 8);
        }
      }
    } else if (p.int32_data_size()) {
      // Types below 8 bits, but for those of 6, come as packed bytes, one an entry.
      const unsigned bits = bitWidth(t->type);
      const bool packed = bits < 8 && bits != 6;
      if (bits > 32 || t->type == ElementType::Float || t->type == ElementType::Uint32)
        unsupported();
      else if (packed && uint64_t(p.int32_data_size()) != *bytes)
        problem(absl::StrCat(p.int32_data_size(), " packed bytes, dims need ", *bytes));
      else if (packed || expectElements(p.int32_data_size())) {
        char *to = elements();
        const unsigned width = packed ? 1 : bits / 8;
        for (int i = 0; i < p.int32_data_size(); ++i) {
          int32_t v = p.int32_data(i);
          if (bits == 6)
            store6Bits(to, i, v);
          else
            std::memcpy(to + i * width, &v, width);
        }
      }
    } else {
      elements(); // there are none
    }
    t->inMemory = std::move(out);
  }
  if (!t->problem.empty())
    error("ONNX-TENSOR-001", pathOf(model_.graph()), t->problem);
  pb::TensorProto original = p, canonical;
  if (named && !p.name().empty())
    original.clear_name();
  writer_.tensor(*t, nullptr, canonical);
  t->asRead = record(original, canonical);
  return t;
}

std::shared_ptr<SparseTensorData> ProtoReader::sparse(const pb::SparseTensorProto &p, bool named) {
  auto s = std::make_shared<SparseTensorData>();
  if (p.has_values())
    s->values = tensor(p.values(), named);
  if (p.has_indices())
    s->indices = tensor(p.indices(), false);
  s->dims.assign(p.dims().begin(), p.dims().end());
  pb::SparseTensorProto original = p, canonical;
  original.clear_values();
  original.clear_indices();
  for (int64_t d : s->dims)
    canonical.add_dims(d);
  s->asRead = record(original, canonical);
  auto problem = [&](std::string what) {
    error("ONNX-SPARSE-001", pathOf(model_.graph()), "sparse tensor '" + p.values().name() + "': " + what);
  };
  if (!s->values || !s->indices) {
    problem("values or indices are missing");
    return s;
  }
  auto total = elementCount(s->dims);
  int64_t nnz = s->values->dims.size() == 1 ? s->values->dims[0] : -1;
  auto indices = s->indices->read();
  if (!total || nnz < 0 || s->indices->type != ElementType::Int64 || !indices.ok()) {
    problem("needs dims, values of rank 1 and int64 indices");
  } else if (indices->rank() == 1
                 ? indices->dim(0) != nnz
                 : indices->rank() != 2 || indices->dim(0) != nnz || indices->dim(1) != int64_t(s->dims.size())) {
    problem("indices do not match the number of values and dims");
  } else {
    int64_t last = -1;
    for (int64_t i = 0; i < nnz; ++i) {
      int64_t linear = 0;
      bool inside = true;
      if (indices->rank() == 1) {
        linear = indices->intAt(i);
        inside = linear >= 0 && linear < *total;
      } else {
        for (size_t k = 0; k < s->dims.size(); ++k) {
          int64_t x = indices->intAt(i * s->dims.size() + k);
          inside &= x >= 0 && x < s->dims[k];
          linear = linear * s->dims[k] + x;
        }
      }
      if (!inside || linear <= last) {
        problem(inside ? "indices are not in ascending order" : "an index is out of range");
        break;
      }
      last = linear;
    }
  }
  return s;
}

Attribute ProtoReader::attribute(pb::AttributeProto &p, unsigned depth) {
  Attribute a(context_.intern(p.name()), static_cast<AttributeType>(p.type()));
  a.refName = p.ref_attr_name();
  a.doc = p.doc_string();
  AttributeType kind = a.type;
  if (kind == AttributeType::Undefined && a.refName.empty()) {
    // Old files leave the type out; the field that is set tells.
    kind = p.has_f()               ? AttributeType::Float
           : p.has_i()             ? AttributeType::Int
           : p.has_s()             ? AttributeType::String
           : p.has_t()             ? AttributeType::Tensor
           : p.has_g()             ? AttributeType::Graph
           : p.floats_size()       ? AttributeType::Floats
           : p.ints_size()         ? AttributeType::Ints
           : p.strings_size()      ? AttributeType::Strings
           : p.tensors_size()      ? AttributeType::Tensors
           : p.graphs_size()       ? AttributeType::Graphs
           : p.has_sparse_tensor() ? AttributeType::SparseTensor
           : p.has_tp()            ? AttributeType::TypeProto
                                   : AttributeType::Undefined;
  }
  if (a.type == AttributeType::Undefined)
    a.type = kind;
  if (a.refName.empty())
    switch (kind) {
    case AttributeType::Float:
      a.value = p.f(); // an absent number reads as 0
      break;
    case AttributeType::Int:
      a.value = int64_t(p.i());
      break;
    case AttributeType::String:
      a.value = p.s();
      break;
    case AttributeType::Floats:
      a.value = std::vector<float>(p.floats().begin(), p.floats().end());
      break;
    case AttributeType::Ints:
      a.value = std::vector<int64_t>(p.ints().begin(), p.ints().end());
      break;
    case AttributeType::Strings:
      a.value = std::vector<std::string>(p.strings().begin(), p.strings().end());
      break;
    case AttributeType::Tensor:
    case AttributeType::Tensors: {
      Attribute::Tensors ts;
      if (kind == AttributeType::Tensor && p.has_t())
        ts.push_back(tensor(p.t(), false));
      if (kind == AttributeType::Tensors)
        for (const auto &t : p.tensors())
          ts.push_back(tensor(t, false));
      a.value = std::move(ts);
      break;
    }
    case AttributeType::SparseTensor:
    case AttributeType::SparseTensors: {
      std::vector<SparseTensorData> ts;
      if (kind == AttributeType::SparseTensor && p.has_sparse_tensor())
        ts.push_back(*sparse(p.sparse_tensor(), false));
      if (kind == AttributeType::SparseTensors)
        for (const auto &t : p.sparse_tensors())
          ts.push_back(*sparse(t, false));
      a.value = std::move(ts);
      break;
    }
    case AttributeType::TypeProto:
    case AttributeType::TypeProtos: {
      std::vector<Type> ts;
      if (kind == AttributeType::TypeProto && p.has_tp())
        ts.push_back(type(p.tp()));
      if (kind == AttributeType::TypeProtos)
        for (const auto &t : p.type_protos())
          ts.push_back(type(t));
      a.value = std::move(ts);
      break;
    }
    case AttributeType::Graph:
    case AttributeType::Graphs:
      break; // filled by the caller, once the node is there
    default:
      break;
    }
  pb::AttributeProto original = p, canonical;
  if (std::holds_alternative<Attribute::Tensors>(a.value))
    kind == AttributeType::Tensor ? original.clear_t() : original.clear_tensors();
  if (std::holds_alternative<std::vector<SparseTensorData>>(a.value))
    kind == AttributeType::SparseTensor ? original.clear_sparse_tensor() : original.clear_sparse_tensors();
  if (kind == AttributeType::Graph)
    original.clear_g();
  if (kind == AttributeType::Graphs)
    original.clear_graphs();
  Attribute bare(a.name, a.type);
  bare.refName = a.refName;
  bare.doc = a.doc;
  if (!std::holds_alternative<Attribute::Tensors>(a.value) &&
      !std::holds_alternative<std::vector<SparseTensorData>>(a.value) &&
      !std::holds_alternative<Attribute::Graphs>(a.value))
    std::visit(
        [&](auto &v) {
          using T = std::decay_t<decltype(v)>;
          if constexpr (!std::is_same_v<T, Attribute::Graphs>)
            bare.value = v;
        },
        a.value);
  writer_.attribute(bare, canonical);
  a.asRead = record(original, canonical);
  (void)depth;
  return a;
}

void ProtoReader::define(Value *v, const Graph &g, llvm::StringRef what) {
  v->fromFile = true;
  if (v->name().empty())
    return;
  if (!scopes_.back().try_emplace(v->name(), v).second)
    error("ONNX-SSA-001", pathOf(g), (what + " '" + v->name() + "' is defined twice").str());
  for (size_t i = 0; i + 1 < scopes_.size(); ++i)
    if (scopes_[i].count(v->name()))
      model_.hasShadowing = true;
}

Value *ProtoReader::resolve(llvm::StringRef name, Graph &g) {
  if (name.empty())
    return nullptr;
  for (Scope &s : llvm::reverse(scopes_)) {
    auto it = s.find(name);
    if (it != s.end())
      return it->second;
  }
  Value *v = g.addUndefined(name);
  scopes_.back()[v->name()] = v;
  error("ONNX-SSA-002", pathOf(g), ("'" + name + "' is used but never defined").str());
  return v;
}

void ProtoReader::constant(Graph &g, Scope &inputs, llvm::StringRef name, int32_t index,
                           std::shared_ptr<const TensorData> dense, std::shared_ptr<const SparseTensorData> sparse) {
  Value *v = nullptr;
  auto it = inputs.find(name);
  if (it != inputs.end() && !it->second->initializer() && it->second->initializerIndex < 0) {
    v = it->second;
    v->setInitializer(std::move(dense));
  } else {
    if (name.empty())
      error("ONNX-SSA-003", pathOf(g), "an initializer has no name");
    v = g.addInitializer(name, std::move(dense));
    define(v, g, "initializer");
  }
  v->initializerIndex = index;
  if (sparse)
    v->extra().sparseInitializer = std::move(sparse);
}

void ProtoReader::graph(Graph &g, pb::GraphProto &p, unsigned depth) {
  g.name = p.name();
  g.doc = p.doc_string();
  g.metadata = pairs(p.metadata_props());
  scopes_.emplace_back();
  for (const auto &i : p.input()) {
    Value *v = g.addInput(i.name());
    declare(*v, i);
    if (i.name().empty())
      error("ONNX-SSA-003", pathOf(g), "an input has no name");
    define(v, g, "input");
  }
  Scope inputs = scopes_.back();
  int32_t index = 0;
  for (const auto &t : p.initializer())
    constant(g, inputs, t.name(), index++, tensor(t, true), nullptr);
  for (const auto &t : p.sparse_initializer())
    constant(g, inputs, t.values().name(), index++, nullptr, sparse(t, true));
  for (const auto &q : p.quantization_annotation())
    g.quantization.push_back(q.SerializePartialAsString());
  body(g, *p.mutable_node(), p.value_info(), depth);
  for (const auto &o : p.output()) {
    Value *v = o.name().empty() ? nullptr : resolve(o.name(), g);
    if (!v) {
      error("ONNX-SSA-003", pathOf(g), "an output has no name");
      v = g.addUndefined("");
    } else if (v->kind() == Value::Undefined) {
      error("ONNX-SSA-004", pathOf(g), "output '" + o.name() + "' is never produced");
    }
    g.addOutput(v, o.name());
    OutputSlot &slot = g.outputs().back();
    slot.type = valueInfo(o, slot.doc, slot.metadata, slot.asRead);
  }
  scopes_.pop_back();
  p.clear_node();
  p.clear_input();
  p.clear_output();
  p.clear_initializer();
  p.clear_sparse_initializer();
  p.clear_value_info();
  p.clear_quantization_annotation();
  pb::GraphProto rest = p;
  rest.clear_name();
  rest.clear_doc_string();
  rest.clear_metadata_props();
  g.leftover = rest.SerializePartialAsString();
  pb::GraphProto canonical;
  writer_.graphHead(g, canonical);
  g.asRead = record(p, canonical);
}

void ProtoReader::body(Graph &g, google::protobuf::RepeatedPtrField<pb::NodeProto> &nodes,
                       const google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &infos, unsigned depth) {
  if (depth > context_.limits.depth) {
    error("ONNX-GRAPH-001", pathOf(g), "graphs are nested too deeply");
    return;
  }
  // Results first, so that a use before its definition is seen as such and not as an unknown name.
  std::vector<Node *> made;
  made.reserve(nodes.size());
  scopes_.back().reserve(scopes_.back().size() + nodes.size());
  for (const auto &p : nodes) {
    Node *n = g.createNode(p.op_type(), p.domain() == "ai.onnx" ? std::string() : p.domain(), {}, p.output_size(),
                           nullptr, p.overload());
    n->setName(context_.intern(p.name()));
    for (int i = 0; i < p.output_size(); ++i) {
      n->result(i)->setName(context_.intern(p.output(i)));
      define(n->result(i), g, "value");
    }
    made.push_back(n);
  }
  uint32_t position = 0;
  for (const auto &info : infos) {
    auto it = scopes_.back().find(info.name());
    Value *v = it == scopes_.back().end() ? nullptr : it->second;
    bool isFunctionInput = v && v->kind() == Value::Input && g.function() && !g.parentNode();
    if (v && v->valueInfoIndex < 0 && v->kind() != Value::Undefined && (v->kind() != Value::Input || isFunctionInput)) {
      declare(*v, info);
      v->valueInfoIndex = position;
    } else {
      if (v && v->declaredType() && info.has_type()) {
        // A second declaration must not contradict the first.
        pb::TypeProto first;
        writer_.type(*v->declaredType(), first);
        Type second = type(info.type());
        if (v->kind() != Value::Input && second.isTensor() &&
            (second.element != v->declaredType()->element ||
             (second.ranked && v->declaredType()->ranked && second.rank() != v->declaredType()->rank())))
          error("ONNX-TYPE-001", pathOf(g), "value_info of '" + info.name() + "' is given twice, with different types");
        else if (v->kind() != Value::Input && second.isStatic() && v->declaredType()->isStatic() &&
                 !(second == *v->declaredType()))
          error("ONNX-TYPE-001", pathOf(g),
                "value_info of '" + info.name() + "' is given twice, with different shapes");
      }
      g.looseValueInfo.push_back({position, info.SerializePartialAsString()});
    }
    ++position;
  }
  for (size_t k = 0; k < made.size(); ++k) {
    pb::NodeProto &p = nodes[k];
    Node *n = made[k];
    llvm::SmallVector<Value *, 8> operands;
    for (const std::string &name : p.input()) {
      // Most operands come from the node before.
      Value *near = k && made[k - 1]->numResults() == 1 ? made[k - 1]->result(0) : nullptr;
      operands.push_back(near && !name.empty() && near->name() == name ? near : resolve(name, g));
    }
    n->setOperands(operands);
    auto f = functions_.find(functionKey(p.domain(), p.op_type(), p.overload()));
    if (f != functions_.end())
      n->setCallee(f->second);
    n->attributes().reserve(p.attribute_size());
    for (auto &ap : *p.mutable_attribute()) {
      if (n->attribute(ap.name()))
        error("ONNX-ATTR-001", pathOf(*n), "attribute '" + ap.name() + "' is given twice");
      if (ap.ref_attr_name().empty() && ((ap.type() == pb::AttributeProto::INT && !ap.has_i()) ||
                                         (ap.type() == pb::AttributeProto::FLOAT && !ap.has_f())))
        warn("ONNX-ATTR-008", pathOf(*n), "attribute '" + ap.name() + "' has no value, which reads as 0");
      Attribute a = attribute(ap, depth);
      bool single = a.type == AttributeType::Graph;
      n->attributes().push_back(std::move(a));
      if ((!single && n->attributes().back().type != AttributeType::Graphs) || !n->attributes().back().refName.empty())
        continue;
      // The graphs must hang below their node before their bodies are read: paths and versions are looked up.
      size_t at = n->attributes().size() - 1;
      n->attributes()[at].value = Attribute::Graphs();
      auto add = [&](pb::GraphProto &gp) {
        auto &list = std::get<Attribute::Graphs>(n->attributes()[at].value);
        list.push_back(std::make_unique<Graph>(context_));
        Graph *sub = list.back().get();
        sub->setParentNode(n);
        graph(*sub, gp, depth + 1);
      };
      if (single && ap.has_g())
        add(*ap.mutable_g());
      if (!single)
        for (auto &gp : *ap.mutable_graphs())
          add(gp);
    }
    p.clear_input();
    p.clear_output();
    p.clear_attribute();
    bool plain = !p.has_doc_string() && !p.metadata_props_size() && !p.device_configurations_size();
    if (!plain || !p.unknown_fields().empty()) {
      n->extra().doc = p.doc_string();
      n->extra().metadata = pairs(p.metadata_props());
      pb::NodeProto rest = p;
      rest.clear_name();
      rest.clear_op_type();
      rest.clear_domain();
      rest.clear_overload();
      rest.clear_doc_string();
      rest.clear_metadata_props();
      n->extra().leftover = rest.SerializePartialAsString();
    }
    // Most nodes are spelled as export would: no empty field is present.
    bool usual = plain && p.unknown_fields().empty() && p.has_op_type() && p.has_name() == !p.name().empty() &&
                 p.has_domain() == !p.domain().empty() && p.domain() != "ai.onnx" &&
                 p.has_overload() == !p.overload().empty();
    if (!usual) {
      pb::NodeProto canonical;
      writer_.nodeHead(*n, canonical);
      if (auto asRead = record(p, canonical))
        n->extra().asRead = asRead;
    }
    pb::NodeProto().Swap(&p); // frees its memory early
  }
}

void ProtoReader::function(Function &f, pb::FunctionProto &p) {
  scopeName_ = "function " + p.domain() + "::" + p.name() + "::" + p.overload();
  scopes_.emplace_back();
  Graph &g = *f.graph;
  for (const std::string &name : p.input())
    define(g.addInput(name), g, "input");
  for (auto &ap : *p.mutable_attribute_proto())
    f.attributeDefaults.push_back(attribute(ap, 0));
  body(g, *p.mutable_node(), p.value_info(), 0);
  for (const std::string &name : p.output()) {
    Value *v = resolve(name, g);
    if (v && v->kind() == Value::Undefined)
      error("ONNX-FUNC-001", pathOf(g), "output '" + name + "' is never produced");
    g.addOutput(v ? v : g.addUndefined(""), name);
  }
  scopes_.pop_back();
  p.clear_input();
  p.clear_output();
  p.clear_node();
  p.clear_value_info();
  p.clear_attribute_proto();
  f.attributeNames.assign(p.attribute().begin(), p.attribute().end());
  f.doc = p.doc_string();
  f.metadata = pairs(p.metadata_props());
  pb::FunctionProto rest = p;
  rest.clear_name();
  rest.clear_domain();
  rest.clear_overload();
  rest.clear_doc_string();
  rest.clear_attribute();
  rest.clear_opset_import();
  rest.clear_metadata_props();
  f.leftover = rest.SerializePartialAsString();
  pb::FunctionProto canonical;
  writer_.functionHead(f, canonical);
  f.asRead = record(p, canonical);
}

void ProtoReader::model(pb::ModelProto &p) {
  if (p.has_ir_version())
    model_.irVersion = p.ir_version();
  if (p.has_model_version())
    model_.modelVersion = p.model_version();
  for (const auto &o : p.opset_import())
    model_.opsets.push_back({o.domain(), o.version()});
  model_.producerName = p.producer_name();
  model_.producerVersion = p.producer_version();
  model_.domain = p.domain();
  model_.doc = p.doc_string();
  model_.metadata = pairs(p.metadata_props());
  model_.defaultsAreConstants = p.ir_version() < 4;
  for (const auto &fp : p.functions()) {
    auto f = std::make_unique<Function>(context_);
    f->name = context_.intern(fp.name());
    f->domain = context_.intern(fp.domain());
    f->overload = context_.intern(fp.overload());
    f->graph->setOwner(&model_, f.get());
    for (const auto &o : fp.opset_import())
      f->opsets.push_back({o.domain(), o.version()});
    if (!functions_.try_emplace(functionKey(fp.domain(), fp.name(), fp.overload()), f.get()).second)
      error("ONNX-FUNC-002", "function \"" + fp.domain() + "::" + fp.name() + "\"", "the function is defined twice");
    model_.functions().push_back(std::move(f));
  }
  if (!p.has_graph())
    error("ONNX-MODEL-001", "main", "the model has no graph");
  bool hadGraph = p.has_graph();
  graph(model_.graph(), *p.mutable_graph(), 0);
  for (int i = 0; i < p.functions_size(); ++i)
    function(*model_.functions()[i], *p.mutable_functions(i));
  (void)hadGraph;
  p.clear_graph();
  p.clear_functions();
  pb::ModelProto rest = p;
  rest.clear_ir_version();
  rest.clear_opset_import();
  rest.clear_producer_name();
  rest.clear_producer_version();
  rest.clear_domain();
  rest.clear_model_version();
  rest.clear_doc_string();
  rest.clear_metadata_props();
  model_.leftover = rest.SerializePartialAsString();
  pb::ModelProto canonical;
  writer_.modelHead(model_, canonical);
  model_.asRead = record(p, canonical);
}

} // namespace

absl::StatusOr<std::unique_ptr<Model>> importModel(Context &context, std::shared_ptr<FileSource> source,
                                                   const std::string &path) {
  auto skeleton = wire::makeSkeleton(*source);
  if (!skeleton.ok())
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", skeleton.status().message()));
  pb::ModelProto proto;
  if (skeleton->size() > INT32_MAX || !proto.ParsePartialFromString(*skeleton))
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a valid ONNX file: malformed protobuf message"));
  std::string().swap(*skeleton);
  if (source->size() == 0)
    return absl::InvalidArgumentError(absl::StrCat(path, ": the file is empty"));
  auto model = std::make_unique<Model>(context);
  model->source = source;
  model->path = path;
  ProtoReader(*model, path).model(proto);
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> importModel(Context &context, const std::string &path) {
  if (path == "-") {
    std::string bytes;
    char buffer[1 << 16];
    for (ssize_t n; (n = ::read(0, buffer, sizeof buffer)) > 0;)
      bytes.append(buffer, n);
    return importModel(context, FileSource::memory(std::move(bytes)), "");
  }
  auto source = FileSource::open(path);
  if (!source.ok())
    return source.status();
  return importModel(context, *source, path);
}

absl::StatusOr<std::unique_ptr<Model>> readModel(Context &context, const std::string &path) {
  if (llvm::StringRef(path).ends_with(".onnxtxt"))
    return parseTextFile(context, path);
  return importModel(context, path);
}

absl::StatusOr<Tensor> parseTensorProto(Context &context, const std::string &bytes) {
  pb::TensorProto p;
  if (bytes.size() > INT32_MAX || !p.ParseFromString(bytes) || p.has_onnxopt_blob())
    return absl::InvalidArgumentError("not a TensorProto");
  Model scratch(context);
  return ProtoReader(scratch, "").tensor(p, true)->read();
}

} // namespace onnxopt
