// Printing models as text.
#include "onnxopt/ir/text/Printer.h"

#include "onnxopt/ir/SmallFloat.h"
#include "onnxopt/ir/proto/ProtoWriter.h"
#include "onnxopt/ir/proto/Wire.h"
#include "onnxopt/ir/text/Syntax.h"

#include "absl/strings/str_cat.h"

#include <charconv>
#include <cmath>
#include <cstring>

namespace onnxopt {
namespace {

using text::isIdentifier;
using text::quote;

std::string id(const std::string &s) { return isIdentifier(s) ? s : quote(s); }

template <typename F, typename Bits> std::string number(F v) {
  if (std::isnan(v)) {
    Bits bits;
    std::memcpy(&bits, &v, sizeof v);
    Bits canonical;
    F nan = std::numeric_limits<F>::quiet_NaN();
    std::memcpy(&canonical, &nan, sizeof v);
    return bits == canonical ? "nan" : absl::StrCat("nan:0x", absl::Hex(bits));
  }
  if (std::isinf(v))
    return v < 0 ? "-inf" : "inf";
  char buffer[40];
  auto r = std::to_chars(buffer, buffer + sizeof buffer, v);
  return std::string(buffer, r.ptr);
}
std::string number(float v) { return number<float, uint32_t>(v); }
std::string number(double v) { return number<double, uint64_t>(v); }

class ProtoPrinter {
public:
  ProtoPrinter(const TextOptions &options, llvm::ArrayRef<std::shared_ptr<const FileSource>> sources)
      : options_(options), sources_(sources) {}

  void model(const pb::ModelProto &m);
  std::string take() { return std::move(out_); }
  absl::Status status() const { return status_; }

private:
  /// Collects the entries of an extension block; prints nothing when there are none.
  struct Block {
    std::vector<std::string> entries;
    void add(llvm::StringRef key, std::string value) { entries.push_back(key.str() + ": " + std::move(value)); }
  };
  void print(const Block &b, llvm::StringRef where) {
    if (b.entries.empty())
      return;
    if (options_.official) {
      if (options_.dropped)
        for (const std::string &e : b.entries)
          options_.dropped->push_back(where.str() + ": " + e.substr(0, e.find(':')));
      return;
    }
    out_ += " {" + llvm::join(b.entries, ", ") + "}";
  }
  static std::string pairs(const google::protobuf::RepeatedPtrField<pb::StringStringEntryProto> &ps) {
    std::string s = "[";
    for (const auto &p : ps)
      s += (s.size() > 1 ? ", " : "") + quote(p.key()) + ": " + quote(p.value());
    return s + "]";
  }
  template <typename P> void docAndMetadata(const P &p, Block &b) {
    if (!p.doc_string().empty())
      b.add("doc_string", quote(p.doc_string()));
    if (p.metadata_props_size())
      b.add("metadata_props", pairs(p.metadata_props()));
  }
  /// The rest of a message as bytes: what the text has no words for; in exact mode also how the file spelled the rest,
  /// where it is not `normal`, or the parser would make something else of it (not `usual`).
  template <typename P> void leftover(P rest, const P &whole, P normal, Block &b, bool usual = true) {
    // What the parser makes of pairs and imports: both fields set, nothing else.
    if constexpr (requires { normal.mutable_metadata_props(); })
      for (auto &e : *normal.mutable_metadata_props()) {
        pb::StringStringEntryProto made;
        made.set_key(e.key());
        made.set_value(e.value());
        e = made;
      }
    if constexpr (requires { normal.mutable_opset_import(); })
      for (auto &o : *normal.mutable_opset_import()) {
        pb::OperatorSetIdProto made;
        made.set_domain(o.domain());
        made.set_version(o.version());
        o = made;
      }
    std::string bytes = rest.SerializePartialAsString();
    if (!bytes.empty())
      b.add("proto", quote(bytes));
    if (!options_.exact)
      return;
    std::string asRead = whole.SerializePartialAsString();
    if (!usual || asRead != normal.SerializePartialAsString())
      b.add("exact", quote(asRead));
  }

  void type(const pb::TypeProto &t, unsigned depth = 0);
  void shape(const pb::TensorShapeProto *s);
  std::string element(int32_t type) {
    llvm::StringRef n = nameOf(static_cast<ElementType>(type));
    return n.empty() ? absl::StrCat("type", type) : n.str();
  }
  void valueInfo(const pb::ValueInfoProto &v);
  void tensor(const pb::TensorProto &t, bool initializer);
  void elements(const pb::TensorProto &t);
  void attribute(const pb::AttributeProto &a);
  void node(const pb::NodeProto &n);
  void nodes(const google::protobuf::RepeatedPtrField<pb::NodeProto> &ns);
  void graph(const pb::GraphProto &g);
  void function(const pb::FunctionProto &f);
  void sparse(const pb::SparseTensorProto &s);
  void opsets(const google::protobuf::RepeatedPtrField<pb::OperatorSetIdProto> &os) {
    out_ += "[";
    for (int i = 0; i < os.size(); ++i)
      absl::StrAppend(&out_, i ? ", " : "", quote(os[i].domain()), " : ", os[i].version());
    out_ += "]";
  }
  void line() { out_ += "\n" + std::string(indent_, ' '); }

  const TextOptions &options_;
  llvm::ArrayRef<std::shared_ptr<const FileSource>> sources_;
  std::string out_;
  unsigned indent_ = 0;
  absl::Status status_;
};

void ProtoPrinter::shape(const pb::TensorShapeProto *s) {
  if (!s) {
    out_ += "[]";
    return;
  }
  if (!s->dim_size())
    return;
  out_ += "[";
  for (int i = 0; i < s->dim_size(); ++i) {
    const auto &d = s->dim(i);
    out_ += i ? "," : "";
    if (d.has_dim_value())
      absl::StrAppend(&out_, d.dim_value());
    else
      out_ += d.has_dim_param() ? id(d.dim_param()) : "?";
  }
  out_ += "]";
}

void ProtoPrinter::type(const pb::TypeProto &t, unsigned depth) {
  if (depth > 100) {
    status_ = absl::InvalidArgumentError("types are nested too deeply to print");
    return;
  }
  switch (t.value_case()) {
  case pb::TypeProto::kTensorType:
    out_ += element(t.tensor_type().elem_type());
    shape(t.tensor_type().has_shape() ? &t.tensor_type().shape() : nullptr);
    break;
  case pb::TypeProto::kSparseTensorType:
    out_ += "sparse_tensor(" + element(t.sparse_tensor_type().elem_type());
    shape(t.sparse_tensor_type().has_shape() ? &t.sparse_tensor_type().shape() : nullptr);
    out_ += ")";
    break;
  case pb::TypeProto::kSequenceType:
    out_ += "seq(";
    type(t.sequence_type().elem_type(), depth + 1);
    out_ += ")";
    break;
  case pb::TypeProto::kOptionalType:
    out_ += "optional(";
    type(t.optional_type().elem_type(), depth + 1);
    out_ += ")";
    break;
  case pb::TypeProto::kMapType:
    out_ += "map(" + element(t.map_type().key_type()) + ", ";
    type(t.map_type().value_type(), depth + 1);
    out_ += ")";
    break;
  case pb::TypeProto::kOpaqueType: {
    const auto &o = t.opaque_type();
    out_ += "opaque(" + (o.domain().empty() ? "" : id(o.domain()) + ",") + (o.name().empty() ? "" : id(o.name())) + ")";
    break;
  }
  default:
    out_ += "?";
  }
}

/// Whether the printed type says all.
bool typeIsPlain(const pb::TypeProto &t) {
  if (t.has_denotation() || !t.unknown_fields().empty())
    return false;
  auto plainShape = [](const pb::TensorShapeProto &s) {
    for (const auto &d : s.dim())
      if (d.has_denotation() || !d.unknown_fields().empty() || (d.has_dim_param() && d.dim_param().empty()))
        return false;
    return s.unknown_fields().empty();
  };
  switch (t.value_case()) {
  case pb::TypeProto::kTensorType:
    return t.tensor_type().unknown_fields().empty() && t.tensor_type().has_elem_type() &&
           plainShape(t.tensor_type().shape());
  case pb::TypeProto::kSparseTensorType:
    return t.sparse_tensor_type().unknown_fields().empty() && t.sparse_tensor_type().has_elem_type() &&
           plainShape(t.sparse_tensor_type().shape());
  case pb::TypeProto::kSequenceType:
    return t.sequence_type().unknown_fields().empty() && t.sequence_type().has_elem_type() &&
           typeIsPlain(t.sequence_type().elem_type());
  case pb::TypeProto::kOptionalType:
    return t.optional_type().unknown_fields().empty() && t.optional_type().has_elem_type() &&
           typeIsPlain(t.optional_type().elem_type());
  case pb::TypeProto::kMapType:
    return t.map_type().unknown_fields().empty() && t.map_type().has_value_type() && t.map_type().has_key_type() &&
           typeIsPlain(t.map_type().value_type());
  case pb::TypeProto::kOpaqueType:
    return t.opaque_type().unknown_fields().empty() &&
           t.opaque_type().has_domain() == !t.opaque_type().domain().empty() &&
           t.opaque_type().has_name() == !t.opaque_type().name().empty();
  default:
    return false;
  }
}

void ProtoPrinter::valueInfo(const pb::ValueInfoProto &v) {
  if (v.has_type()) {
    type(v.type());
    out_ += " ";
  }
  out_ += id(v.name());
  Block b;
  docAndMetadata(v, b);
  pb::ValueInfoProto rest = v, normal = v;
  rest.clear_name();
  rest.clear_doc_string();
  rest.clear_metadata_props();
  if (v.has_type() && typeIsPlain(v.type()))
    rest.clear_type();
  if (normal.doc_string().empty())
    normal.clear_doc_string();
  normal.set_name(v.name());
  leftover(rest, v, normal, b);
  print(b, "value " + v.name());
}

void ProtoPrinter::elements(const pb::TensorProto &t) {
  // Every payload is first brought into the form of raw_data.
  TensorData data;
  data.type = static_cast<ElementType>(t.data_type());
  data.dims.assign(t.dims().begin(), t.dims().end());
  auto count = elementCount(data.dims);
  const std::optional<uint64_t> bytes = byteSize(data.type, count.value_or(0));
  if (data.type == ElementType::String) {
    out_ += "{";
    for (int i = 0; i < t.string_data_size(); ++i)
      out_ += (i ? ", " : "") + quote(t.string_data(i));
    out_ += "}";
    return;
  }
  std::string raw;
  if (t.has_onnxopt_blob()) {
    wire::Blob blob = wire::Blob::decode(t.onnxopt_blob());
    raw.resize(blob.size);
    status_.Update(sources_[blob.source]->read(blob.offset, blob.size, raw.data()));
    if (blob.field == 5 || blob.field == 7 || blob.field == 11) {
      data.payload.source = FileSource::memory(std::move(raw));
      data.payload.size = data.payload.source->size();
      data.payload.encoding = blob.field == 5 ? Payload::VarintInt32 : Payload::VarintInt64;
      auto read = data.read();
      raw = read.ok() ? std::string(read->bytes(), read->byteSize()) : std::string();
    }
  } else if (t.has_raw_data()) {
    raw = t.raw_data();
  } else if (t.float_data_size()) {
    raw.assign(reinterpret_cast<const char *>(t.float_data().data()), t.float_data_size() * 4);
  } else if (t.double_data_size()) {
    raw.assign(reinterpret_cast<const char *>(t.double_data().data()), t.double_data_size() * 8);
  } else if (t.int64_data_size()) {
    raw.assign(reinterpret_cast<const char *>(t.int64_data().data()), t.int64_data_size() * 8);
  } else {
    unsigned width = std::max(1u, bitWidth(data.type) / 8);
    auto put = [&](auto v) { raw.append(reinterpret_cast<const char *>(&v), std::min<size_t>(width, sizeof v)); };
    for (uint64_t v : t.uint64_data())
      put(v);
    if (bitWidth(data.type) == 6) {
      raw.resize(bytes.value_or(0));
      for (int i = 0; i < t.int32_data_size() && i < *count; ++i)
        store6Bits(raw.data(), i, t.int32_data(i));
    } else {
      for (int32_t v : t.int32_data())
        put(v);
    }
  }
  if (!count || !bytes || raw.size() < *bytes) {
    out_ += "..."; // faulty; the bytes stay in the extension block
    return;
  }
  Tensor tensor(data.type, data.dims);
  std::memcpy(tensor.mutableBytes(), raw.data(), *bytes);
  out_ += "{";
  int64_t n = *count;
  auto list = [&](int64_t m, auto item) {
    for (int64_t i = 0; i < m; ++i) {
      if (i)
        out_ += ",";
      item(i);
    }
  };
  switch (data.type) {
  case ElementType::Float:
    list(n, [&](int64_t i) { out_ += number(tensor.data<float>()[i]); });
    break;
  case ElementType::Complex64:
    list(2 * n, [&](int64_t i) { out_ += number(tensor.data<float>()[i]); });
    break;
  case ElementType::Double:
    list(n, [&](int64_t i) { out_ += number(tensor.data<double>()[i]); });
    break;
  case ElementType::Complex128:
    list(2 * n, [&](int64_t i) { out_ += number(tensor.data<double>()[i]); });
    break;
  case ElementType::Uint64:
    list(n, [&](int64_t i) { absl::StrAppend(&out_, tensor.data<uint64_t>()[i]); });
    break;
  case ElementType::Float4E2M1:
    list(n, [&](int64_t i) { absl::StrAppend(&out_, tensor.bitcast(ElementType::Uint4).intAt(i)); });
    break;
  case ElementType::Float6E2M3:
  case ElementType::Float6E3M2:
    list(n, [&](int64_t i) { absl::StrAppend(&out_, load6Bits(tensor.bytes(), i)); });
    break;
  default: {
    // Small floats print their bit pattern, as the official printer does.
    ElementType as = !isSmallFloat(data.type)    ? data.type
                     : bitWidth(data.type) == 16 ? ElementType::Uint16
                                                 : ElementType::Uint8;
    Tensor ints = tensor.bitcast(as);
    list(n, [&](int64_t i) { absl::StrAppend(&out_, ints.intAt(i)); });
  }
  }
  out_ += "}";
}

void ProtoPrinter::tensor(const pb::TensorProto &t, bool initializer) {
  out_ += element(t.data_type());
  if (t.dims_size()) {
    out_ += "[";
    for (int i = 0; i < t.dims_size(); ++i)
      absl::StrAppend(&out_, i ? "," : "", t.dims(i));
    out_ += "]";
  }
  // The official parser takes no quoted name here.
  bool named = initializer || isIdentifier(t.name());
  if (named)
    out_ += " " + id(t.name());
  out_ += initializer ? " = " : " ";
  size_t before = out_.size();
  int64_t n = elementCount(llvm::ArrayRef<int64_t>(t.dims().data(), t.dims_size())).value_or(0);
  if (t.data_location() == pb::TensorProto::EXTERNAL)
    out_ += t.external_data_size() ? pairs(t.external_data()) : "...";
  else if (options_.elideAbove >= 0 && n > options_.elideAbove)
    out_ += "...";
  else
    elements(t);
  bool faulty =
      out_.compare(before, std::string::npos, "...") == 0 && !(options_.elideAbove >= 0 && n > options_.elideAbove);
  Block b;
  docAndMetadata(t, b);
  pb::TensorProto rest = t, normal = t;
  rest.clear_dims();
  rest.clear_data_type();
  if (!faulty) {
    rest.clear_raw_data();
    rest.clear_float_data();
    rest.clear_double_data();
    rest.clear_int32_data();
    rest.clear_int64_data();
    rest.clear_uint64_data();
    rest.clear_string_data();
    rest.clear_onnxopt_blob();
    rest.clear_external_data();
    rest.clear_data_location();
  }
  if (named || t.name().empty())
    rest.clear_name();
  rest.clear_doc_string();
  rest.clear_metadata_props();
  // The parser writes raw_data, and no name but of initializers.
  bool typed =
      t.float_data_size() || t.double_data_size() || t.int32_data_size() || t.int64_data_size() || t.uint64_data_size();
  // Only plain raw_data comes back just so.
  bool usual = (t.has_raw_data() || t.has_onnxopt_blob()) && !typed && !t.string_data_size() &&
               !t.external_data_size() && t.has_data_type() && !faulty;
  if (!usual)
    normal.Clear();
  if (t.has_doc_string() && t.doc_string().empty())
    normal.clear_doc_string();
  if (!initializer && t.has_name() && t.name().empty())
    normal.clear_name();
  if (t.has_data_location() && t.data_location() != pb::TensorProto::EXTERNAL)
    normal.clear_data_location();
  pb::TensorProto whole = t;
  if (t.has_onnxopt_blob()) { // bytes of typed blobs must be spelled out
    wire::Blob blob = wire::Blob::decode(t.onnxopt_blob());
    if (blob.field != 9 && options_.exact) {
      wire::Rope rope;
      std::string raw(blob.size, 0);
      status_.Update(sources_[blob.source]->read(blob.offset, blob.size, raw.data()));
      pb::TensorProto withPayload = t;
      withPayload.clear_onnxopt_blob();
      std::string bytes = withPayload.SerializePartialAsString();
      auto varint = [&](uint64_t v) {
        for (; v >= 0x80; v >>= 7)
          bytes.push_back(char(v | 0x80));
        bytes.push_back(char(v));
      };
      varint(uint64_t(blob.field) << 3 | 2);
      varint(raw.size());
      bytes += raw;
      whole.ParsePartialFromString(bytes);
      normal = pb::TensorProto();
    } else { // raw_data is spelled by the elements
      whole.clear_onnxopt_blob();
      normal.clear_onnxopt_blob();
    }
  }
  leftover(rest, whole, normal, b, usual);
  print(b, "tensor " + t.name());
}

void ProtoPrinter::sparse(const pb::SparseTensorProto &s) {
  // sparse_tensor[2,3] values at indices
  out_ += "sparse_tensor[";
  for (int i = 0; i < s.dims_size(); ++i)
    absl::StrAppend(&out_, i ? "," : "", s.dims(i));
  out_ += "] ";
  if (s.has_values())
    tensor(s.values(), false);
  else
    out_ += "none";
  out_ += " at ";
  if (s.has_indices())
    tensor(s.indices(), false);
  else
    out_ += "none";
  if (!s.unknown_fields().empty())
    out_ += " {proto: " + quote(s.unknown_fields()) + "}";
}

void ProtoPrinter::attribute(const pb::AttributeProto &a) {
  out_ += id(a.name());
  using A = pb::AttributeProto;
  out_ += ": " + (a.has_type() ? nameOf(static_cast<AttributeType>(a.type())).str() : "undefined");
  out_ += " = ";
  auto list = [&](const auto &items, auto item) {
    out_ += "[";
    bool first = true;
    for (const auto &x : items) {
      out_ += first ? "" : ", ";
      first = false;
      item(x);
    }
    out_ += "]";
  };
  auto type = a.type();
  if (!a.has_type())
    type = a.has_i()          ? A::INT
           : a.has_s()        ? A::STRING
           : a.has_t()        ? A::TENSOR
           : a.has_g()        ? A::GRAPH
           : a.floats_size()  ? A::FLOATS
           : a.ints_size()    ? A::INTS
           : a.strings_size() ? A::STRINGS
           : a.has_f()        ? A::FLOAT
                              : A::UNDEFINED;
  pb::AttributeProto rest = a, normal = a;
  bool untyped = !a.has_type();
  if (a.has_ref_attr_name()) {
    out_ += "@" + id(a.ref_attr_name());
    rest.clear_ref_attr_name();
  } else {
    switch (type) {
    case A::FLOAT: {
      std::string s = a.has_f() ? number(a.f()) : "...";
      if (untyped && s.find_first_of(".einf") == std::string::npos)
        s += ".0";
      out_ += s;
      rest.clear_f();
      break;
    }
    case A::INT:
      absl::StrAppend(&out_, a.has_i() ? absl::StrCat(a.i()) : "...");
      rest.clear_i();
      break;
    case A::STRING:
      out_ += a.has_s() ? quote(a.s()) : "...";
      rest.clear_s();
      break;
    case A::FLOATS:
      list(a.floats(), [&](float f) {
        std::string s = number(f);
        if (untyped && s.find_first_of(".einf") == std::string::npos)
          s += ".0";
        out_ += s;
      });
      rest.clear_floats();
      break;
    case A::INTS:
      list(a.ints(), [&](int64_t i) { absl::StrAppend(&out_, i); });
      rest.clear_ints();
      break;
    case A::STRINGS:
      list(a.strings(), [&](const std::string &s) { out_ += quote(s); });
      rest.clear_strings();
      break;
    case A::TENSOR:
      a.has_t() ? tensor(a.t(), false) : void(out_ += "...");
      rest.clear_t();
      break;
    case A::TENSORS:
      list(a.tensors(), [&](const pb::TensorProto &t) { tensor(t, false); });
      rest.clear_tensors();
      break;
    case A::GRAPH:
      a.has_g() ? graph(a.g()) : void(out_ += "...");
      rest.clear_g();
      break;
    case A::GRAPHS:
      list(a.graphs(), [&](const pb::GraphProto &g) { graph(g); });
      rest.clear_graphs();
      break;
    case A::SPARSE_TENSOR:
      a.has_sparse_tensor() ? sparse(a.sparse_tensor()) : void(out_ += "...");
      rest.clear_sparse_tensor();
      break;
    case A::SPARSE_TENSORS:
      list(a.sparse_tensors(), [&](const pb::SparseTensorProto &s) { sparse(s); });
      rest.clear_sparse_tensors();
      break;
    case A::TYPE_PROTO:
      a.has_tp() ? this->type(a.tp()) : void(out_ += "...");
      if (typeIsPlain(a.tp()))
        rest.clear_tp();
      break;
    case A::TYPE_PROTOS: {
      bool plain = llvm::all_of(a.type_protos(), typeIsPlain);
      if (!plain) {
        out_ += "...";
        break;
      }
      list(a.type_protos(), [&](const pb::TypeProto &t) { this->type(t); });
      rest.clear_type_protos();
      break;
    }
    default:
      out_ += "...";
    }
  }
  Block b;
  if (!a.doc_string().empty())
    b.add("doc_string", quote(a.doc_string()));
  rest.clear_name();
  rest.clear_type();
  rest.clear_doc_string();
  if (a.has_doc_string() && a.doc_string().empty())
    normal.clear_doc_string();
  if (a.type() == pb::AttributeProto::UNDEFINED)
    normal.clear_type();
  normal.set_name(a.name());
  pb::AttributeProto whole = a;
  for (auto *p : {&whole, &normal}) {
    p->clear_t();
    p->clear_tensors();
    p->clear_g();
    p->clear_graphs();
    p->clear_sparse_tensor();
    p->clear_sparse_tensors();
  }
  leftover(rest, whole, normal, b);
  print(b, "attribute " + a.name());
}

void ProtoPrinter::node(const pb::NodeProto &n) {
  if (!n.name().empty())
    out_ += "[" + id(n.name()) + "] ";
  for (int i = 0; i < n.output_size(); ++i)
    out_ += (i ? ", " : "") + id(n.output(i));
  out_ += n.output_size() ? " = " : "= ";
  if (!n.domain().empty()) {
    bool dotted = true;
    llvm::SmallVector<llvm::StringRef, 4> parts;
    llvm::StringRef(n.domain()).split(parts, '.');
    for (llvm::StringRef p : parts)
      dotted &= isIdentifier(p);
    out_ += (dotted ? n.domain() : quote(n.domain())) + ".";
  }
  out_ += id(n.op_type());
  if (!n.overload().empty())
    out_ += ":" + id(n.overload());
  bool graphs = false;
  for (const auto &a : n.attribute())
    graphs |= a.has_g() || a.graphs_size();
  auto attributes = [&] {
    if (!n.attribute_size())
      return;
    out_ += " <";
    for (int i = 0; i < n.attribute_size(); ++i) {
      out_ += i ? ", " : "";
      attribute(n.attribute(i));
    }
    out_ += ">";
  };
  if (!graphs)
    attributes();
  out_ += " (";
  for (int i = 0; i < n.input_size(); ++i)
    out_ += (i ? ", " : "") + id(n.input(i));
  out_ += ")";
  if (graphs)
    attributes(); // bodies after the operands, as the official printer has them
  Block b;
  docAndMetadata(n, b);
  pb::NodeProto rest = n, normal = n, whole = n;
  rest.clear_name();
  rest.clear_op_type();
  rest.clear_domain();
  rest.clear_overload();
  rest.clear_doc_string();
  rest.clear_metadata_props();
  for (auto *p : {&rest, &normal, &whole}) {
    p->clear_input();
    p->clear_output();
    p->clear_attribute();
  }
  if (n.name().empty())
    normal.clear_name();
  if (n.domain().empty())
    normal.clear_domain();
  if (n.overload().empty())
    normal.clear_overload();
  if (n.doc_string().empty())
    normal.clear_doc_string();
  normal.set_op_type(n.op_type());
  leftover(rest, whole, normal, b);
  print(b, "node " + n.name());
}

void ProtoPrinter::nodes(const google::protobuf::RepeatedPtrField<pb::NodeProto> &ns) {
  out_ += "{";
  indent_ += 3;
  for (const auto &n : ns) {
    line();
    node(n);
  }
  indent_ -= 3;
  line();
  out_ += "}";
}

void ProtoPrinter::graph(const pb::GraphProto &g) {
  if (indent_ > 400) {
    status_ = absl::InvalidArgumentError("graphs are nested too deeply to print");
    return;
  }
  out_ += id(g.name());
  Block b;
  docAndMetadata(g, b);
  pb::GraphProto rest = g, whole, normal;
  rest.clear_node();
  rest.clear_initializer();
  rest.clear_input();
  rest.clear_output();
  rest.clear_value_info();
  rest.clear_sparse_initializer();
  whole = rest;
  rest.clear_name();
  rest.clear_doc_string();
  rest.clear_metadata_props();
  normal = whole;
  if (!g.has_name())
    normal.set_name("");
  if (g.doc_string().empty())
    normal.clear_doc_string();
  leftover(rest, whole, normal, b);
  print(b, "graph " + g.name());
  out_ += " (";
  for (int i = 0; i < g.input_size(); ++i) {
    out_ += i ? ", " : "";
    valueInfo(g.input(i));
  }
  out_ += ") => (";
  for (int i = 0; i < g.output_size(); ++i) {
    out_ += i ? ", " : "";
    valueInfo(g.output(i));
  }
  out_ += ") ";
  if (g.initializer_size() || g.value_info_size() || g.sparse_initializer_size()) {
    indent_ += 3;
    line();
    out_ += "<";
    bool first = true;
    auto next = [&] {
      if (!first) {
        out_ += ",";
        line();
      }
      first = false;
    };
    for (const auto &t : g.initializer()) {
      next();
      tensor(t, true);
    }
    for (const auto &s : g.sparse_initializer()) {
      if (options_.official) {
        if (options_.dropped)
          options_.dropped->push_back("sparse initializer " + s.values().name());
        continue;
      }
      next();
      sparse(s);
    }
    for (const auto &v : g.value_info()) {
      next();
      valueInfo(v);
    }
    out_ += ">";
    indent_ -= 3;
    line();
  }
  nodes(g.node());
}

void ProtoPrinter::function(const pb::FunctionProto &f) {
  out_ += "<\n  domain: " + quote(f.domain()) + ",\n  opset_import: ";
  opsets(f.opset_import());
  if (!f.overload().empty())
    out_ += ",\n  overload: " + quote(f.overload());
  if (!f.doc_string().empty())
    out_ += ",\n  doc_string: " + quote(f.doc_string());
  Block b;
  if (f.metadata_props_size())
    b.add("metadata_props", pairs(f.metadata_props()));
  pb::FunctionProto rest = f, whole, normal;
  rest.clear_input();
  rest.clear_output();
  rest.clear_node();
  rest.clear_value_info();
  rest.clear_attribute_proto();
  rest.clear_attribute();
  whole = rest;
  rest.clear_name();
  rest.clear_domain();
  rest.clear_overload();
  rest.clear_doc_string();
  rest.clear_opset_import();
  rest.clear_metadata_props();
  normal = whole;
  normal.set_domain(f.domain());
  normal.set_name(f.name());
  if (f.doc_string().empty())
    normal.clear_doc_string();
  if (f.overload().empty())
    normal.clear_overload();
  leftover(rest, whole, normal, b);
  if (!options_.official)
    for (const std::string &e : b.entries)
      out_ += ",\n  " + e;
  else
    print(b, "function " + f.name());
  out_ += "\n>\n" + id(f.name());
  if (f.attribute_size() || f.attribute_proto_size()) {
    out_ += " <";
    bool first = true;
    for (const std::string &a : f.attribute()) {
      out_ += (first ? "" : ", ") + id(a);
      first = false;
    }
    for (const auto &a : f.attribute_proto()) {
      out_ += first ? "" : ", ";
      first = false;
      attribute(a);
    }
    out_ += ">";
  }
  out_ += " (";
  for (int i = 0; i < f.input_size(); ++i)
    out_ += (i ? ", " : "") + id(f.input(i));
  out_ += ") => (";
  for (int i = 0; i < f.output_size(); ++i)
    out_ += (i ? ", " : "") + id(f.output(i));
  out_ += ")\n";
  if (f.value_info_size()) {
    out_ += "   <";
    for (int i = 0; i < f.value_info_size(); ++i) {
      out_ += i ? ", " : "";
      valueInfo(f.value_info(i));
    }
    out_ += ">\n";
  }
  nodes(f.node());
}

void ProtoPrinter::model(const pb::ModelProto &m) {
  out_ += "<\n";
  if (m.has_ir_version())
    absl::StrAppend(&out_, "   ir_version: ", m.ir_version(), ",\n");
  out_ += "   opset_import: ";
  opsets(m.opset_import());
  auto str = [&](const char *key, const std::string &v) {
    if (!v.empty())
      out_ += ",\n   " + std::string(key) + ": " + quote(v);
  };
  str("producer_name", m.producer_name());
  str("producer_version", m.producer_version());
  str("domain", m.domain());
  if (m.has_model_version())
    absl::StrAppend(&out_, ",\n   model_version: ", m.model_version());
  str("doc_string", m.doc_string());
  if (m.metadata_props_size())
    out_ += ",\n   metadata_props: " + pairs(m.metadata_props());
  Block b;
  pb::ModelProto rest = m, whole, normal;
  rest.clear_graph();
  rest.clear_functions();
  whole = rest;
  rest.clear_ir_version();
  rest.clear_opset_import();
  rest.clear_producer_name();
  rest.clear_producer_version();
  rest.clear_domain();
  rest.clear_model_version();
  rest.clear_doc_string();
  rest.clear_metadata_props();
  normal = whole;
  if (m.producer_name().empty())
    normal.clear_producer_name();
  if (m.producer_version().empty())
    normal.clear_producer_version();
  if (m.domain().empty())
    normal.clear_domain();
  if (m.doc_string().empty())
    normal.clear_doc_string();
  leftover(rest, whole, normal, b);
  if (!options_.official)
    for (const std::string &e : b.entries)
      out_ += ",\n   " + e;
  else
    print(b, "model");
  out_ += "\n>\n";
  graph(m.graph());
  out_ += "\n";
  for (const auto &f : m.functions()) {
    function(f);
    out_ += "\n";
  }
}

} // namespace

absl::StatusOr<std::string> printText(const Model &model, const TextOptions &options) {
  ProtoWriter writer(model.context(), model.source);
  auto proto = writer.model(model);
  if (!proto.ok())
    return proto.status();
  ProtoPrinter printer(options, writer.sources);
  printer.model(*proto);
  if (!printer.status().ok())
    return printer.status();
  return printer.take();
}

} // namespace onnxopt
