// Building ModelProto messages.
#include "onnxopt/ir/proto/ProtoWriter.h"

#include "onnxopt/ir/proto/Wire.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/xxhash.h"

namespace onnxopt {

uint64_t fingerprint(const std::string &bytes) { return llvm::xxh3_64bits(bytes); }

namespace {

void pairs(const Metadata &from, google::protobuf::RepeatedPtrField<pb::StringStringEntryProto> &to) {
  for (const StringPair &p : from) {
    auto *e = to.Add();
    e->set_key(p.key);
    e->set_value(p.value);
  }
}

template <typename Proto> void merge(Proto &out, const std::string &bytes) {
  Proto rest;
  if (rest.ParsePartialFromString(bytes))
    out.MergeFrom(rest);
}

/// If `record` still spells `canonical`, replaces it by what the file had.
template <typename Proto> bool spellAsRead(const AsRead *record, Proto &canonical) {
  if (!record || fingerprint(canonical.SerializePartialAsString()) != record->fingerprint)
    return false;
  Proto original;
  if (!original.ParsePartialFromString(record->original))
    return false;
  canonical = std::move(original);
  return true;
}

} // namespace

void ProtoWriter::type(const Type &t, pb::TypeProto &out) {
  auto fill = [&](auto *tensor) {
    tensor->set_elem_type(int32_t(t.element));
    if (!t.ranked)
      return;
    auto *shape = tensor->mutable_shape();
    for (Dim d : t.dims) {
      auto *dim = shape->add_dim();
      if (d.isConstant())
        dim->set_dim_value(d.constant());
      else if (d && !(d.isSymbol() && d.symbolName().empty()))
        if (std::string text = context_.dims().print(d); text.find('?') == std::string::npos)
          dim->set_dim_param(std::move(text));
    }
  };
  switch (t.kind) {
  case Type::Unknown:
    break;
  case Type::Tensor:
    fill(out.mutable_tensor_type());
    break;
  case Type::Sparse:
    fill(out.mutable_sparse_tensor_type());
    break;
  case Type::Sequence:
    type(*t.inner, *out.mutable_sequence_type()->mutable_elem_type());
    break;
  case Type::Optional:
    type(*t.inner, *out.mutable_optional_type()->mutable_elem_type());
    break;
  case Type::Map:
    out.mutable_map_type()->set_key_type(int32_t(t.element));
    type(*t.inner, *out.mutable_map_type()->mutable_value_type());
    break;
  case Type::Opaque:
    out.mutable_opaque_type()->set_domain(t.opaqueDomain);
    out.mutable_opaque_type()->set_name(t.opaqueName);
    break;
  }
}

void ProtoWriter::tensor(const TensorData &t, const std::string *name, pb::TensorProto &out) {
  for (int64_t d : t.dims)
    out.add_dims(d);
  out.set_data_type(int32_t(t.type));
  if (!name && !t.name.empty())
    out.set_name(t.name);
  if (!t.doc.empty())
    out.set_doc_string(t.doc);
  std::vector<ExternalEntry> external = t.external;
  bool moved = placeExternal && placeExternal(t, external);
  if (!t.external.empty() && !moved)
    external = t.external;
  auto writeExternal = [&](pb::TensorProto &to) {
    to.set_data_location(pb::TensorProto::EXTERNAL);
    for (const ExternalEntry &e : external) {
      auto *entry = to.add_external_data();
      entry->set_key(e.key);
      entry->set_value(e.value);
    }
  };
  auto writeBlob = [&](pb::TensorProto &to) {
    uint32_t index = 0;
    for (; index < sources.size() && sources[index] != t.payload.source; ++index)
      ;
    if (index == sources.size())
      sources.push_back(t.payload.source);
    static const uint32_t fields[] = {9, 5, 7, 11, 4, 10}; // by Payload::Encoding
    to.set_onnxopt_blob(wire::Blob{fields[t.payload.encoding], index, t.payload.offset, t.payload.size}.encode());
  };
  // The default form of a tensor as it stands; a record of the file may spell it otherwise.
  if (!t.external.empty() && !moved)
    writeExternal(out);
  else if (t.payload.source && !moved)
    writeBlob(out);
  else if (moved)
    external.empty() ? writeBlob(out) : writeExternal(out);
  else if (t.type == ElementType::String)
    for (const std::string &s : t.inMemory.isString() ? t.inMemory.strings() : std::vector<std::string>())
      out.add_string_data(s);
  else if (t.inMemory.bytes())
    out.set_raw_data(t.inMemory.bytes(), t.inMemory.byteSize());
  if (useRecords && t.asRead && moved) {
    // The elements went elsewhere; all else stays as it was.
    pb::TensorProto original;
    original.ParsePartialFromString(t.asRead->original);
    original.clear_external_data();
    original.clear_data_location();
    original.clear_onnxopt_blob();
    original.clear_raw_data();
    external.empty() ? writeBlob(original) : writeExternal(original);
    out = std::move(original);
  } else if (useRecords) {
    spellAsRead(t.asRead.get(), out);
  }
  if (name && !name->empty())
    out.set_name(*name);
}

void ProtoWriter::valueInfo(const std::string &name, const Type *t, const std::string &doc, const Metadata &metadata,
                            const AsRead *record, pb::ValueInfoProto &out) {
  if (t)
    type(*t, *out.mutable_type());
  if (!doc.empty())
    out.set_doc_string(doc);
  pairs(metadata, *out.mutable_metadata_props());
  if (useRecords)
    spellAsRead(record, out);
  if (!name.empty())
    out.set_name(name);
}

void ProtoWriter::sparse(const SparseTensorData &t, const std::string *name, pb::SparseTensorProto &out) {
  for (int64_t d : t.dims)
    out.add_dims(d);
  if (useRecords)
    spellAsRead(t.asRead.get(), out);
  if (t.values)
    tensor(*t.values, name, *out.mutable_values());
  if (t.indices)
    tensor(*t.indices, nullptr, *out.mutable_indices());
}

void ProtoWriter::attribute(const Attribute &a, pb::AttributeProto &out) {
  out.set_name(a.name.str());
  if (a.type != AttributeType::Undefined)
    out.set_type(static_cast<pb::AttributeProto::AttributeType>(a.type));
  if (!a.refName.empty())
    out.set_ref_attr_name(a.refName);
  if (!a.doc.empty())
    out.set_doc_string(a.doc);
  if (const auto *v = std::get_if<float>(&a.value))
    out.set_f(*v);
  else if (const auto *v = std::get_if<int64_t>(&a.value))
    out.set_i(*v);
  else if (const auto *v = std::get_if<std::string>(&a.value))
    out.set_s(*v);
  else if (const auto *v = std::get_if<std::vector<float>>(&a.value))
    out.mutable_floats()->Add(v->begin(), v->end());
  else if (const auto *v = std::get_if<std::vector<int64_t>>(&a.value))
    out.mutable_ints()->Add(v->begin(), v->end());
  else if (const auto *v = std::get_if<std::vector<std::string>>(&a.value))
    out.mutable_strings()->Add(v->begin(), v->end());
  else if (const auto *v = std::get_if<std::vector<Type>>(&a.value)) {
    for (const Type &t : *v)
      type(t, a.type == AttributeType::TypeProto ? *out.mutable_tp() : *out.add_type_protos());
  }
  if (useRecords)
    spellAsRead(a.asRead.get(), out);
  // These carry records of their own.
  if (const auto *v = std::get_if<Attribute::Tensors>(&a.value))
    for (const auto &t : *v)
      tensor(*t, nullptr, a.type == AttributeType::Tensors ? *out.add_tensors() : *out.mutable_t());
  else if (const auto *v = std::get_if<std::vector<SparseTensorData>>(&a.value))
    for (const SparseTensorData &t : *v)
      sparse(t, nullptr,
             a.type == AttributeType::SparseTensors ? *out.add_sparse_tensors() : *out.mutable_sparse_tensor());
  else if (names_)
    for (const auto &g : a.graphs())
      graph(*g, a.type == AttributeType::Graphs ? *out.add_graphs() : *out.mutable_g());
}

void ProtoWriter::nodeHead(const Node &n, pb::NodeProto &out) {
  const Node::Extra *extra = n.maybeExtra();
  if (!n.name().empty())
    out.set_name(n.name().str());
  out.set_op_type(n.opType().str());
  if (!n.domain().empty())
    out.set_domain(n.domain().str());
  if (!n.overload().empty())
    out.set_overload(n.overload().str());
  if (!extra)
    return;
  if (!extra->doc.empty())
    out.set_doc_string(extra->doc);
  pairs(extra->metadata, *out.mutable_metadata_props());
  if (!extra->leftover.empty())
    merge(out, extra->leftover);
  if (useRecords)
    spellAsRead(extra->asRead.get(), out);
}

void ProtoWriter::nodes(const Graph &g, google::protobuf::RepeatedPtrField<pb::NodeProto> &out) {
  out.Reserve(g.nodes().size());
  for (const Node &n : g.nodes()) {
    pb::NodeProto &p = *out.Add();
    nodeHead(n, p);
    for (unsigned i = 0; i < n.numOperands(); ++i)
      p.add_input(nameOf(n.operand(i)));
    for (const auto &r : n.results())
      p.add_output(nameOf(r.get()));
    for (const Attribute &a : n.attributes())
      attribute(a, *p.add_attribute());
  }
}

void ProtoWriter::valueInfos(const Graph &g, google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &out) {
  llvm::SmallVector<const Value *, 0> declared;
  auto consider = [&](const Value *v) {
    if (v->declaredType() || v->valueInfoIndex >= 0)
      declared.push_back(v);
  };
  // A main graph's inputs declare themselves; a function's have no other place.
  for (const auto &v : g.inputs())
    if (v->valueInfoIndex >= 0 || (!g.parentNode() && g.function() && v->declaredType()))
      declared.push_back(v.get());
  for (const auto &v : g.initializers())
    consider(v.get());
  llvm::DenseSet<const Value *> outputs;
  for (unsigned i = 0; i < g.outputs().size(); ++i)
    if (g.outputs()[i].type)
      outputs.insert(g.returnNode()->operand(i));
  for (const Node &n : g.nodes())
    for (const auto &r : n.results())
      if (r->valueInfoIndex >= 0 || !outputs.contains(r.get()))
        consider(r.get());
  llvm::stable_sort(declared, [](const Value *a, const Value *b) {
    return uint32_t(a->valueInfoIndex) < uint32_t(b->valueInfoIndex);
  });
  auto loose = g.looseValueInfo.begin();
  auto flushLoose = [&](uint32_t before) {
    for (; loose != g.looseValueInfo.end() && loose->position < before; ++loose)
      out.Add()->ParsePartialFromString(loose->bytes);
  };
  for (const Value *v : declared) {
    if (nameOf(v).empty())
      continue;
    flushLoose(uint32_t(v->valueInfoIndex));
    static const Value::Extra none;
    const Value::Extra &e = v->maybeExtra() && v->kind() != Value::Input ? *v->maybeExtra() : none;
    valueInfo(nameOf(v), v->declaredType(), e.doc, e.metadata, e.asRead.get(), *out.Add());
  }
  flushLoose(UINT32_MAX);
}

void ProtoWriter::graphHead(const Graph &g, pb::GraphProto &out) {
  if (!g.name.empty())
    out.set_name(g.name);
  if (!g.doc.empty())
    out.set_doc_string(g.doc);
  pairs(g.metadata, *out.mutable_metadata_props());
  if (!g.leftover.empty())
    merge(out, g.leftover);
  if (useRecords)
    spellAsRead(g.asRead.get(), out);
}

void ProtoWriter::graph(const Graph &g, pb::GraphProto &out) {
  graphHead(g, out);
  static const Value::Extra none;
  for (const auto &v : g.inputs()) {
    const Value::Extra &e = v->maybeExtra() ? *v->maybeExtra() : none;
    valueInfo(nameOf(v.get()), v->declaredType(), e.doc, e.metadata, e.asRead.get(), *out.add_input());
  }
  for (auto [i, slot] : llvm::enumerate(g.outputs()))
    valueInfo(names_->outputName(g, i).str(), slot.type.get(), slot.doc, slot.metadata, slot.asRead.get(),
              *out.add_output());
  nodes(g, *out.mutable_node());
  llvm::SmallVector<const Value *, 0> constants;
  for (const auto &v : g.inputs())
    if (v->initializer() || (v->maybeExtra() && v->maybeExtra()->sparseInitializer))
      constants.push_back(v.get());
  for (const auto &v : g.initializers())
    constants.push_back(v.get());
  llvm::stable_sort(constants, [](const Value *a, const Value *b) {
    return uint32_t(a->initializerIndex) < uint32_t(b->initializerIndex);
  });
  for (const Value *v : constants) {
    std::string name = nameOf(v);
    if (v->initializer())
      tensor(*v->initializer(), &name, *out.add_initializer());
    else if (v->maybeExtra() && v->maybeExtra()->sparseInitializer)
      sparse(*v->maybeExtra()->sparseInitializer, &name, *out.add_sparse_initializer());
  }
  valueInfos(g, *out.mutable_value_info());
  for (const std::string &bytes : g.quantization)
    out.add_quantization_annotation()->ParsePartialFromString(bytes);
}

void ProtoWriter::functionHead(const Function &f, pb::FunctionProto &out) {
  if (!f.name.empty())
    out.set_name(f.name.str());
  if (!f.domain.empty())
    out.set_domain(f.domain.str());
  if (!f.overload.empty())
    out.set_overload(f.overload.str());
  if (!f.doc.empty())
    out.set_doc_string(f.doc);
  for (const std::string &a : f.attributeNames)
    out.add_attribute(a);
  for (const OpsetImport &o : f.opsets) {
    auto *import = out.add_opset_import();
    import->set_domain(o.domain);
    import->set_version(o.version);
  }
  pairs(f.metadata, *out.mutable_metadata_props());
  if (!f.leftover.empty())
    merge(out, f.leftover);
  if (useRecords)
    spellAsRead(f.asRead.get(), out);
}

void ProtoWriter::function(const Function &f, pb::FunctionProto &out) {
  functionHead(f, out);
  for (const auto &v : f.graph->inputs())
    out.add_input(nameOf(v.get()));
  for (const OutputSlot &slot : f.graph->outputs())
    out.add_output(slot.name.str());
  for (const Attribute &a : f.attributeDefaults)
    attribute(a, *out.add_attribute_proto());
  nodes(*f.graph, *out.mutable_node());
  valueInfos(*f.graph, *out.mutable_value_info());
}

void ProtoWriter::modelHead(const Model &m, pb::ModelProto &out) {
  if (m.irVersion)
    out.set_ir_version(*m.irVersion);
  for (const OpsetImport &o : m.opsets) {
    auto *import = out.add_opset_import();
    import->set_domain(o.domain);
    import->set_version(o.version);
  }
  if (!m.producerName.empty())
    out.set_producer_name(m.producerName);
  if (!m.producerVersion.empty())
    out.set_producer_version(m.producerVersion);
  if (!m.domain.empty())
    out.set_domain(m.domain);
  if (m.modelVersion)
    out.set_model_version(*m.modelVersion);
  if (!m.doc.empty())
    out.set_doc_string(m.doc);
  pairs(m.metadata, *out.mutable_metadata_props());
  if (!m.leftover.empty())
    merge(out, m.leftover);
  if (useRecords)
    spellAsRead(m.asRead.get(), out);
}

absl::StatusOr<pb::ModelProto> ProtoWriter::model(const Model &m) {
  Naming names(m);
  if (requireLegal && !names.problems().empty())
    return absl::FailedPreconditionError(names.problems().front());
  names_ = &names;
  pb::ModelProto out;
  modelHead(m, out);
  graph(m.graph(), *out.mutable_graph());
  for (const auto &f : m.functions())
    function(*f, *out.add_functions());
  names_ = nullptr;
  if (!status_.ok())
    return status_;
  return out;
}

} // namespace onnxopt
