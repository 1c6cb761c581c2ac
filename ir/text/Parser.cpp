// Parsing the text form into protobuf messages, which then go the way of every import.
#include "onnxopt/ir/text/Parser.h"

#include "onnxopt/ir/Import.h"
#include "onnxopt/ir/SmallFloat.h"
#include "onnxopt/ir/text/Syntax.h"

#include "onnxopt.pb.h"

#include "absl/strings/str_cat.h"

#include <cmath>
#include <cstring>

namespace onnxopt {
namespace {

constexpr unsigned kMaxGraphDepth = 32, kMaxTypeDepth = 45;

/// Recursive descent with one failure; every method returns false after it.
class TextParser {
public:
  explicit TextParser(llvm::StringRef text) : text_(text) {}

  bool model(pb::ModelProto &m);
  std::string error() const { return error_; }

private:
  using Pairs = google::protobuf::RepeatedPtrField<pb::StringStringEntryProto>;

  bool fail(llvm::StringRef what) {
    if (!error_.empty())
      return false;
    unsigned line = 1 + text_.take_front(at_).count('\n');
    size_t start = text_.take_front(at_).rfind('\n');
    unsigned column = at_ - (start == llvm::StringRef::npos ? 0 : start + 1) + 1;
    llvm::StringRef here = text_.drop_front(at_).take_until([](char c) { return c == '\n'; }).take_front(30);
    error_ =
        absl::StrCat("line ", line, ", column ", column, ": ", what.str(), ", found ",
                     here.empty() ? (at_ >= text_.size() ? "the end" : "the end of the line") : "'" + here.str() + "'");
    return false;
  }
  void space() {
    while (at_ < text_.size()) {
      if (llvm::isSpace(text_[at_]))
        ++at_;
      else if (text_[at_] == '#')
        while (at_ < text_.size() && text_[at_] != '\n')
          ++at_;
      else
        break;
    }
  }
  char peek() {
    space();
    return at_ < text_.size() ? text_[at_] : 0;
  }
  bool match(char c) {
    if (peek() != c)
      return false;
    ++at_;
    return true;
  }
  bool matchText(llvm::StringRef s) {
    space();
    if (!text_.drop_front(at_).starts_with(s))
      return false;
    at_ += s.size();
    return true;
  }
  bool expect(char c) { return match(c) || fail(std::string("expected '") + c + "'"); }
  llvm::StringRef peekWord() {
    space();
    size_t n = at_;
    if (n < text_.size() && (llvm::isAlpha(text_[n]) || text_[n] == '_'))
      while (n < text_.size() && (llvm::isAlnum(text_[n]) || text_[n] == '_'))
        ++n;
    return text_.slice(at_, n);
  }
  bool word(std::string &out) {
    llvm::StringRef w = peekWord();
    if (w.empty())
      return fail("expected a name");
    out = w.str();
    at_ += w.size();
    return true;
  }
  bool string(std::string &out);
  bool name(std::string &out) { return peek() == '"' ? string(out) : word(out); }
  bool integer(int64_t &out);
  /// A number as text: sign, digits, fraction, exponent, nan, inf, nan:0x...
  bool numberText(llvm::StringRef &out);
  template <typename F> bool floating(F &out);

  bool pairs(Pairs &out);
  bool opsets(google::protobuf::RepeatedPtrField<pb::OperatorSetIdProto> &out);
  bool elementType(int32_t &out);
  bool isType();
  bool type(pb::TypeProto &t, unsigned depth = 0);
  bool shape(pb::TypeProto::Tensor *tensor, pb::TypeProto::SparseTensor *sparse);
  /// `{doc_string: ..., metadata_props: ..., proto: ..., exact: ...}`; `m` already has what the text said.
  template <typename P> bool extension(P &m, llvm::function_ref<void(P &bare)> keepOnly);
  bool valueInfo(pb::ValueInfoProto &v, bool *typed = nullptr);
  bool graphFormals(google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &out, pb::GraphProto *initializers);
  bool tensorBody(pb::TensorProto &t);
  bool tensorFromType(const pb::TypeProto &type, pb::TensorProto &t);
  bool tensor(pb::TensorProto &t);
  bool sparse(pb::SparseTensorProto &s);
  bool attribute(pb::AttributeProto &a, unsigned depth);
  bool namedAttribute(const std::string &n, pb::AttributeProto &a, unsigned depth);
  bool attributeValue(pb::AttributeProto &a, unsigned depth);
  bool attributes(google::protobuf::RepeatedPtrField<pb::AttributeProto> &out, unsigned depth);
  bool node(pb::NodeProto &n, unsigned depth);
  bool nodes(google::protobuf::RepeatedPtrField<pb::NodeProto> &out, unsigned depth);
  bool graph(pb::GraphProto &g, unsigned depth);
  bool function(pb::FunctionProto &f);

  llvm::StringRef text_;
  size_t at_ = 0;
  std::string error_;
};

bool TextParser::string(std::string &out) {
  if (!expect('"'))
    return false;
  out.clear();
  while (at_ < text_.size() && text_[at_] != '"') {
    char c = text_[at_++];
    if (c != '\\') {
      out += c;
      continue;
    }
    if (at_ >= text_.size())
      break;
    c = text_[at_++];
    if (c == 'x' && at_ + 2 <= text_.size() && llvm::isHexDigit(text_[at_]) && llvm::isHexDigit(text_[at_ + 1])) {
      out += char(llvm::hexDigitValue(text_[at_]) * 16 + llvm::hexDigitValue(text_[at_ + 1]));
      at_ += 2;
    } else {
      out += c;
    }
  }
  if (at_ >= text_.size())
    return fail("expected '\"' at the end of a string");
  ++at_;
  return true;
}

bool TextParser::numberText(llvm::StringRef &out) {
  space();
  size_t n = at_;
  auto accept = [&](auto pred) {
    while (n < text_.size() && pred(text_[n]))
      ++n;
  };
  if (n < text_.size() && (text_[n] == '-' || text_[n] == '+'))
    ++n;
  if (text_.drop_front(n).starts_with_insensitive("nan:0x")) {
    n += 6;
    accept(llvm::isHexDigit);
  } else if (text_.drop_front(n).starts_with_insensitive("infinity")) {
    n += 8;
  } else if (text_.drop_front(n).starts_with_insensitive("nan") || text_.drop_front(n).starts_with_insensitive("inf")) {
    n += 3;
  } else {
    size_t digits = n;
    accept(llvm::isDigit);
    if (n < text_.size() && text_[n] == '.') {
      ++n;
      accept(llvm::isDigit);
    }
    if (n == digits || (n == digits + 1 && text_[digits] == '.'))
      return fail("expected a number");
    if (n < text_.size() && (text_[n] == 'e' || text_[n] == 'E')) {
      ++n;
      if (n < text_.size() && (text_[n] == '-' || text_[n] == '+'))
        ++n;
      accept(llvm::isDigit);
    }
  }
  out = text_.slice(at_, n);
  at_ = n;
  return true;
}

bool TextParser::integer(int64_t &out) {
  llvm::StringRef s;
  size_t start = (space(), at_);
  if (!numberText(s))
    return false;
  if (!s.getAsInteger(10, out))
    return true;
  uint64_t u;
  if (!s.getAsInteger(10, u)) {
    out = int64_t(u);
    return true;
  }
  at_ = start;
  return fail("expected a whole number");
}

template <typename F> bool TextParser::floating(F &out) {
  llvm::StringRef s;
  if (!numberText(s))
    return false;
  size_t hex = s.find("0x");
  if (hex != llvm::StringRef::npos) {
    uint64_t bits = 0;
    if (s.drop_front(hex + 2).getAsInteger(16, bits))
      return fail("expected a bit pattern");
    if constexpr (sizeof(F) == 4) {
      auto u = uint32_t(bits);
      std::memcpy(&out, &u, 4);
    } else {
      std::memcpy(&out, &bits, 8);
    }
    return true;
  }
  std::string copy = s.str();
  if constexpr (sizeof(F) == 4)
    out = std::strtof(copy.c_str(), nullptr);
  else
    out = std::strtod(copy.c_str(), nullptr);
  return true;
}

bool TextParser::pairs(Pairs &out) {
  if (!expect('['))
    return false;
  if (match(']'))
    return true;
  do {
    std::string key, value;
    if (!string(key) || !expect(':') || !string(value))
      return false;
    auto *e = out.Add();
    e->set_key(key);
    e->set_value(value);
  } while (match(','));
  return expect(']');
}

bool TextParser::opsets(google::protobuf::RepeatedPtrField<pb::OperatorSetIdProto> &out) {
  if (!expect('['))
    return false;
  if (match(']'))
    return true;
  do {
    std::string domain;
    int64_t version;
    if (!string(domain) || !expect(':') || !integer(version))
      return false;
    auto *o = out.Add();
    o->set_domain(domain);
    o->set_version(version);
  } while (match(','));
  return expect(']');
}

bool TextParser::elementType(int32_t &out) {
  llvm::StringRef w = peekWord();
  if (auto e = elementTypeFromName(w); e && !w.empty()) {
    out = int32_t(*e);
    at_ += w.size();
    return true;
  }
  llvm::StringRef digits = w;
  if (digits.consume_front("type") && !digits.getAsInteger(10, out)) {
    at_ += w.size();
    return true;
  }
  return fail("expected an element type");
}

/// Whether a type starts here (and not a value that is named like one).
bool TextParser::isType() {
  if (peek() == '?')
    return true;
  llvm::StringRef w = peekWord();
  size_t save = at_;
  at_ += w.size();
  char next = peek();
  at_ = save;
  if (w == "seq" || w == "map" || w == "optional" || w == "sparse_tensor" || w == "opaque")
    return next == '(';
  llvm::StringRef digits = w;
  bool known = elementTypeFromName(w).has_value() ||
               (digits.consume_front("type") && llvm::all_of(digits, llvm::isDigit) && !digits.empty());
  return known && next != ',' && next != ')' && next != '>' && next != '=';
}

bool TextParser::shape(pb::TypeProto::Tensor *tensor, pb::TypeProto::SparseTensor *sparse) {
  auto *s = tensor ? tensor->mutable_shape() : sparse->mutable_shape();
  if (peek() != '[')
    return true;
  ++at_;
  if (match(']')) { // unknown rank
    tensor ? tensor->clear_shape() : sparse->clear_shape();
    return true;
  }
  do {
    auto *d = s->add_dim();
    char c = peek();
    if (c == '?') {
      ++at_;
    } else if (c == '"' || llvm::isAlpha(c) || c == '_') {
      std::string param;
      if (!name(param))
        return false;
      d->set_dim_param(param);
    } else {
      int64_t v;
      if (!integer(v))
        return false;
      d->set_dim_value(v);
    }
  } while (match(','));
  return expect(']');
}

bool TextParser::type(pb::TypeProto &t, unsigned depth) {
  if (depth > kMaxTypeDepth)
    return fail("types are nested too deeply");
  if (match('?'))
    return true;
  llvm::StringRef w = peekWord();
  auto skip = [&] {
    at_ += w.size();
    return expect('(');
  };
  if (w == "seq")
    return skip() && type(*t.mutable_sequence_type()->mutable_elem_type(), depth + 1) && expect(')');
  if (w == "optional")
    return skip() && type(*t.mutable_optional_type()->mutable_elem_type(), depth + 1) && expect(')');
  int32_t e;
  if (w == "map") {
    if (!skip() || !elementType(e))
      return false;
    t.mutable_map_type()->set_key_type(e);
    return expect(',') && type(*t.mutable_map_type()->mutable_value_type(), depth + 1) && expect(')');
  }
  if (w == "sparse_tensor") {
    if (!skip() || !elementType(e))
      return false;
    t.mutable_sparse_tensor_type()->set_elem_type(e);
    return shape(nullptr, t.mutable_sparse_tensor_type()) && expect(')');
  }
  if (w == "opaque") {
    if (!skip())
      return false;
    auto *o = t.mutable_opaque_type();
    std::string first, second;
    if (match(')'))
      return true;
    if (!name(first))
      return false;
    if (match(',')) {
      o->set_domain(first);
      if (peek() != ')') {
        if (!name(second))
          return false;
        o->set_name(second);
      }
    } else {
      o->set_name(first);
    }
    return expect(')');
  }
  if (!elementType(e))
    return false;
  t.mutable_tensor_type()->set_elem_type(e);
  return shape(t.mutable_tensor_type(), nullptr);
}

template <typename P> bool TextParser::extension(P &m, llvm::function_ref<void(P &)> dropChildren) {
  if (peek() != '{')
    return true;
  ++at_;
  do {
    std::string key, value;
    if (!word(key) || !expect(':'))
      return false;
    if (key == "doc_string") {
      if (!string(value))
        return false;
      m.set_doc_string(value);
    } else if (key == "metadata_props") {
      if constexpr (requires { m.mutable_metadata_props(); }) {
        if (!pairs(*m.mutable_metadata_props()))
          return false;
      } else {
        return fail("no metadata_props here");
      }
    } else if (key == "proto") {
      P rest;
      if (!string(value))
        return false;
      if (!rest.ParsePartialFromString(value))
        return fail("expected the bytes of a message");
      if constexpr (requires { m.has_type() && m.mutable_type()->has_tensor_type(); })
        if (rest.has_type())
          m.clear_type();
      m.MergeFrom(rest);
    } else if (key == "exact") {
      // How the file spelled everything but the children, which are kept as parsed.
      P whole, children = m, empty;
      if (!string(value))
        return false;
      if (!whole.ParsePartialFromString(value))
        return fail("expected the bytes of a message");
      dropChildren(children);
      whole.MergeFrom(children);
      m = std::move(whole);
    } else {
      return fail("expected doc_string, metadata_props, proto or exact");
    }
  } while (match(','));
  return expect('}');
}

bool TextParser::valueInfo(pb::ValueInfoProto &v, bool *typed) {
  bool hasType = isType();
  if (hasType && peek() == '?') { // a declaration with an empty type
    ++at_;
    v.mutable_type();
  } else if (hasType && !type(*v.mutable_type())) {
    return false;
  }
  if (typed)
    *typed = hasType;
  std::string n;
  if (!name(n))
    return false;
  v.set_name(n);
  return extension<pb::ValueInfoProto>(v, [](pb::ValueInfoProto &c) { c.Clear(); });
}

bool TextParser::tensorBody(pb::TensorProto &t) {
  if (matchText("...")) {
    return true; // elided: the importer reports missing elements
  }
  if (peek() == '[') {
    t.set_data_location(pb::TensorProto::EXTERNAL);
    return pairs(*t.mutable_external_data());
  }
  if (!expect('{'))
    return false;
  auto type = static_cast<ElementType>(t.data_type());
  std::string raw;
  unsigned bits = bitWidth(type), filled = 0, sixes = 0;
  uint8_t byte = 0;
  while (!match('}')) {
    auto put = [&](const auto &v) { raw.append(reinterpret_cast<const char *>(&v), sizeof v); };
    switch (type) {
    case ElementType::String: {
      std::string s;
      if (!string(s))
        return false;
      t.add_string_data(s);
      break;
    }
    case ElementType::Float:
    case ElementType::Complex64: {
      float f;
      if (!floating(f))
        return false;
      put(f);
      break;
    }
    case ElementType::Double:
    case ElementType::Complex128: {
      double f;
      if (!floating(f))
        return false;
      put(f);
      break;
    }
    default: {
      int64_t v;
      if (bits == 0)
        return fail("elements of this type cannot be written");
      if (!integer(v))
        return false;
      if (bits == 6) {
        raw.resize((size_t(++sixes) * 6 + 7) / 8);
        store6Bits(raw.data(), sixes - 1, uint32_t(v) & 63);
      } else if (bits >= 8) {
        raw.append(reinterpret_cast<const char *>(&v), bits / 8);
      } else {
        byte |= uint8_t((v & ((1 << bits) - 1)) << filled);
        filled += bits;
        if (filled == 8) {
          raw += char(byte);
          byte = 0;
          filled = 0;
        }
      }
    }
    }
    if (!match(',') && peek() != '}')
      return fail("expected ',' or '}'");
  }
  if (filled)
    raw += char(byte);
  if (type != ElementType::String)
    t.set_raw_data(raw);
  return true;
}

bool TextParser::tensorFromType(const pb::TypeProto &type, pb::TensorProto &t) {
  if (!type.has_tensor_type())
    return fail("expected a tensor type before elements");
  t.set_data_type(type.tensor_type().elem_type());
  for (const auto &d : type.tensor_type().shape().dim()) {
    if (!d.has_dim_value())
      return fail("expected constant dims before elements");
    t.add_dims(d.dim_value());
  }
  if (!tensorBody(t))
    return false;
  if (t.data_type() == int32_t(ElementType::String) && t.dims_size() == 0 && t.string_data_size() != 1)
    t.add_dims(t.string_data_size());
  // An exact spelling without payload is of what stands around these elements.
  std::string raw = t.raw_data();
  if (!extension<pb::TensorProto>(t, [](pb::TensorProto &c) { c.Clear(); }))
    return false;
  bool payload = t.has_raw_data() || t.float_data_size() || t.double_data_size() || t.int32_data_size() ||
                 t.int64_data_size() || t.uint64_data_size() || t.string_data_size() || t.external_data_size();
  if (!payload && !raw.empty())
    t.set_raw_data(raw);
  return true;
}

bool TextParser::tensor(pb::TensorProto &t) {
  pb::TypeProto type;
  if (!this->type(type))
    return false;
  if (peek() != '{' && peek() != '[' && !text_.drop_front(at_).starts_with("...")) {
    std::string n;
    if (!name(n))
      return false;
    t.set_name(n);
    match('=');
  }
  return tensorFromType(type, t);
}

bool TextParser::sparse(pb::SparseTensorProto &s) {
  if (!matchText("sparse_tensor") || !expect('['))
    return fail("expected sparse_tensor[dims]");
  while (!match(']')) {
    int64_t d;
    if (!integer(d))
      return false;
    s.add_dims(d);
    match(',');
  }
  auto part = [&](auto &&make) {
    if (peekWord() != "none")
      return tensor(*make());
    at_ += 4;
    return true;
  };
  if (!part([&] { return s.mutable_values(); }))
    return false;
  if (!matchText("at"))
    return fail("expected 'at' and indices");
  if (!part([&] { return s.mutable_indices(); }))
    return false;
  if (match('{')) {
    std::string bytes;
    pb::SparseTensorProto rest;
    if (!matchText("proto") || !expect(':') || !string(bytes) || !expect('}'))
      return fail("expected {proto: ...}");
    if (!rest.ParsePartialFromString(bytes))
      return fail("expected the bytes of a message");
    s.MergeFrom(rest);
  }
  return true;
}

bool TextParser::graphFormals(google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &out, pb::GraphProto *g) {
  if (!expect('('))
    return false;
  if (match(')'))
    return true;
  do {
    pb::ValueInfoProto &v = *out.Add();
    if (!valueInfo(v))
      return false;
    if (g && match('=')) {
      pb::TensorProto &t = *g->add_initializer();
      t.set_name(v.name());
      if (!tensorFromType(v.type(), t))
        return false;
    }
  } while (match(','));
  return expect(')');
}

bool TextParser::attributeValue(pb::AttributeProto &a, unsigned depth) {
  using A = pb::AttributeProto;
  static const std::pair<const char *, A::AttributeType> kinds[] = {{"float", A::FLOAT},
                                                                    {"int", A::INT},
                                                                    {"string", A::STRING},
                                                                    {"tensor", A::TENSOR},
                                                                    {"graph", A::GRAPH},
                                                                    {"floats", A::FLOATS},
                                                                    {"ints", A::INTS},
                                                                    {"strings", A::STRINGS},
                                                                    {"tensors", A::TENSORS},
                                                                    {"graphs", A::GRAPHS},
                                                                    {"sparse_tensor", A::SPARSE_TENSOR},
                                                                    {"sparse_tensors", A::SPARSE_TENSORS},
                                                                    {"type_proto", A::TYPE_PROTO},
                                                                    {"type_protos", A::TYPE_PROTOS},
                                                                    {"undefined", A::UNDEFINED}};
  bool typed = match(':'), untyped = false;
  if (typed) {
    std::string kind;
    if (!word(kind))
      return false;
    bool found = false;
    for (auto &[n, k] : kinds)
      if (kind == n) {
        a.set_type(k);
        found = true;
      }
    if (!found)
      return fail("expected an attribute type");
    untyped = kind == "undefined"; // a file that leaves the type out
    typed = !untyped;
  }
  if (!expect('='))
    return false;
  if (match('@')) {
    std::string ref;
    if (!name(ref))
      return false;
    a.set_ref_attr_name(ref);
    return true;
  }
  if (matchText("...")) // declared without a value
    return true;
  auto list = [&](auto item) {
    if (!expect('['))
      return false;
    while (!match(']')) {
      if (!item())
        return false;
      if (!match(',') && peek() != ']')
        return fail("expected ',' or ']'");
    }
    return true;
  };
  auto isFloatText = [](llvm::StringRef s) { return s.find_first_of(".eEnNiI") != llvm::StringRef::npos; };
  if (!typed) {
    char c = peek();
    size_t save = at_;
    if (c == '"') {
      // A string, or the quoted name of a graph.
      std::string s;
      if (!string(s))
        return false;
      bool isGraph = peek() == '(' || peek() == '{';
      at_ = save;
      a.set_type(isGraph ? A::GRAPH : A::STRING);
    } else if (c == '[') {
      ++at_;
      char first = peek();
      if (first == '"') {
        a.set_type(A::STRINGS);
      } else if (first == ']') {
        return fail("expected a type for an empty list");
      } else {
        bool anyFloat = false;
        llvm::StringRef s;
        do {
          if (!numberText(s))
            return false;
          anyFloat |= isFloatText(s);
        } while (match(','));
        a.set_type(anyFloat ? A::FLOATS : A::INTS);
      }
      at_ = save;
    } else if (llvm::isDigit(c) || c == '-' || c == '+' || c == '.') {
      llvm::StringRef s;
      if (!numberText(s))
        return false;
      a.set_type(isFloatText(s) ? A::FLOAT : A::INT);
      at_ = save;
    } else {
      llvm::StringRef w = peekWord();
      at_ += w.size();
      char next = peek();
      at_ = save;
      if ((w == "nan" || w == "inf" || w == "infinity") && next != '(')
        a.set_type(A::FLOAT);
      else if (next == '(' && w != "seq" && w != "optional" && w != "map" && w != "sparse_tensor" && w != "opaque")
        a.set_type(A::GRAPH);
      else {
        pb::TypeProto t;
        if (!type(t))
          return false;
        next = peek();
        bool isTensor = next == '{' || next == '=' || next == '[' || llvm::isAlpha(next) || next == '"' ||
                        text_.drop_front(at_).starts_with("...");
        at_ = save;
        a.set_type(isTensor ? A::TENSOR : A::TYPE_PROTO);
      }
    }
  }
  A::AttributeType kind = a.type();
  if (untyped)
    a.clear_type();
  switch (kind) {
  case A::FLOAT: {
    float f;
    if (!floating(f))
      return false;
    a.set_f(f);
    return true;
  }
  case A::INT: {
    int64_t i;
    if (!integer(i))
      return false;
    a.set_i(i);
    return true;
  }
  case A::STRING:
    return string(*a.mutable_s());
  case A::FLOATS:
    return list([&] {
      float f;
      if (!floating(f))
        return false;
      a.add_floats(f);
      return true;
    });
  case A::INTS:
    return list([&] {
      int64_t i;
      if (!integer(i))
        return false;
      a.add_ints(i);
      return true;
    });
  case A::STRINGS:
    return list([&] { return string(*a.add_strings()); });
  case A::TENSOR:
    return tensor(*a.mutable_t());
  case A::TENSORS:
    return list([&] { return tensor(*a.add_tensors()); });
  case A::GRAPH:
    return graph(*a.mutable_g(), depth + 1);
  case A::GRAPHS:
    return list([&] { return graph(*a.add_graphs(), depth + 1); });
  case A::SPARSE_TENSOR:
    return sparse(*a.mutable_sparse_tensor());
  case A::SPARSE_TENSORS:
    return list([&] { return sparse(*a.add_sparse_tensors()); });
  case A::TYPE_PROTO:
    return type(*a.mutable_tp());
  case A::TYPE_PROTOS:
    return list([&] { return type(*a.add_type_protos()); });
  default:
    return fail("expected a value");
  }
}

bool TextParser::attribute(pb::AttributeProto &a, unsigned depth) {
  std::string n;
  if (!name(n))
    return false;
  return namedAttribute(n, a, depth);
}

bool TextParser::namedAttribute(const std::string &n, pb::AttributeProto &a, unsigned depth) {
  a.set_name(n);
  if (!attributeValue(a, depth))
    return false;
  if (a.type() == pb::AttributeProto::UNDEFINED)
    a.clear_type();
  return extension<pb::AttributeProto>(a, [](pb::AttributeProto &c) {
    pb::AttributeProto children;
    children.mutable_graphs()->Swap(c.mutable_graphs());
    children.mutable_tensors()->Swap(c.mutable_tensors());
    children.mutable_sparse_tensors()->Swap(c.mutable_sparse_tensors());
    if (c.has_g())
      children.mutable_g()->Swap(c.mutable_g());
    if (c.has_t())
      children.mutable_t()->Swap(c.mutable_t());
    if (c.has_sparse_tensor())
      children.mutable_sparse_tensor()->Swap(c.mutable_sparse_tensor());
    c = std::move(children);
  });
}

bool TextParser::attributes(google::protobuf::RepeatedPtrField<pb::AttributeProto> &out, unsigned depth) {
  if (!match('<'))
    return true;
  if (match('>'))
    return true;
  do {
    if (!attribute(*out.Add(), depth))
      return false;
  } while (match(','));
  return expect('>');
}

bool TextParser::node(pb::NodeProto &n, unsigned depth) {
  std::string s;
  if (match('[')) {
    if (!name(s) || !expect(']'))
      return false;
    n.set_name(s);
  }
  if (peek() != '=')
    do {
      if (!name(s))
        return false;
      n.add_output(s);
    } while (match(','));
  if (!expect('='))
    return false;
  // domain.parts.Op
  llvm::SmallVector<std::string, 4> parts;
  do {
    if (!name(s))
      return false;
    parts.push_back(s);
  } while (match('.'));
  n.set_op_type(parts.pop_back_val());
  if (!parts.empty())
    n.set_domain(llvm::join(parts, "."));
  if (match(':')) {
    if (!name(s))
      return false;
    n.set_overload(s);
  }
  if (!attributes(*n.mutable_attribute(), depth) || !expect('('))
    return false;
  if (!match(')')) {
    do {
      // An absent operand is "" or nothing between the commas.
      if (peek() == ',' || peek() == ')')
        s.clear();
      else if (!name(s))
        return false;
      n.add_input(s);
    } while (match(','));
    if (!expect(')'))
      return false;
  }
  if (!attributes(*n.mutable_attribute(), depth))
    return false;
  if (!extension<pb::NodeProto>(n, [](pb::NodeProto &c) {
        pb::NodeProto children;
        children.mutable_input()->Swap(c.mutable_input());
        children.mutable_output()->Swap(c.mutable_output());
        children.mutable_attribute()->Swap(c.mutable_attribute());
        c = std::move(children);
      }))
    return false;
  match(';');
  return true;
}

bool TextParser::nodes(google::protobuf::RepeatedPtrField<pb::NodeProto> &out, unsigned depth) {
  if (!expect('{'))
    return false;
  while (!match('}'))
    if (at_ >= text_.size() || !node(*out.Add(), depth))
      return fail("expected a node or '}'");
  return true;
}

bool TextParser::graph(pb::GraphProto &g, unsigned depth) {
  if (depth > kMaxGraphDepth)
    return fail("graphs are nested too deeply");
  std::string n;
  if (!name(n))
    return false;
  g.set_name(n);
  if (!extension<pb::GraphProto>(g, [](pb::GraphProto &c) { c.Clear(); }))
    return false;
  if (!graphFormals(*g.mutable_input(), &g))
    return false;
  if (!matchText("=>"))
    return fail("expected '=>'");
  if (!graphFormals(*g.mutable_output(), nullptr))
    return false;
  if (match('<') && !match('>')) {
    do {
      llvm::StringRef w = peekWord();
      if (w == "sparse_tensor" && text_.drop_front(at_ + w.size()).ltrim().starts_with("[")) {
        if (!sparse(*g.add_sparse_initializer()))
          return false;
        continue;
      }
      pb::ValueInfoProto v;
      if (!valueInfo(v))
        return false;
      if (match('=')) {
        pb::TensorProto &t = *g.add_initializer();
        t.set_name(v.name());
        if (!tensorFromType(v.type(), t))
          return false;
      } else {
        *g.add_value_info() = std::move(v);
      }
    } while (match(','));
    if (!expect('>'))
      return false;
  }
  return nodes(*g.mutable_node(), depth);
}

bool TextParser::function(pb::FunctionProto &f) {
  std::optional<std::string> exact;
  if (match('<')) {
    do {
      std::string key, value;
      if (!word(key) || !expect(':'))
        return false;
      if (key == "opset_import") {
        if (!opsets(*f.mutable_opset_import()))
          return false;
      } else if (key == "metadata_props") {
        if (!pairs(*f.mutable_metadata_props()))
          return false;
      } else {
        if (!string(value))
          return false;
        if (key == "domain")
          f.set_domain(value);
        else if (key == "overload")
          f.set_overload(value);
        else if (key == "doc_string")
          f.set_doc_string(value);
        else if (key == "proto") {
          pb::FunctionProto rest;
          if (!rest.ParsePartialFromString(value))
            return fail("expected the bytes of a message");
          f.MergeFrom(rest);
        } else if (key == "exact")
          exact = value;
        else
          return fail("expected opset_import, domain, overload, doc_string or metadata_props before it");
      }
    } while (match(','));
    if (!expect('>'))
      return false;
  }
  std::string n;
  if (!name(n))
    return false;
  f.set_name(n);
  if (exact && !f.ParsePartialFromString(*exact))
    return fail("expected the bytes of a message");
  if (match('<') && !match('>')) {
    do {
      if (!name(n))
        return false;
      if (peek() == ':' || peek() == '=') {
        if (!namedAttribute(n, *f.add_attribute_proto(), 0))
          return false;
      } else {
        f.add_attribute(n);
      }
    } while (match(','));
    if (!expect('>'))
      return false;
  }
  auto formals = [&](google::protobuf::RepeatedPtrField<std::string> &out) {
    google::protobuf::RepeatedPtrField<pb::ValueInfoProto> infos;
    if (!graphFormals(infos, nullptr))
      return false;
    for (auto &v : infos) {
      *out.Add() = v.name();
      if (v.has_type())
        *f.add_value_info() = std::move(v);
    }
    return true;
  };
  if (!formals(*f.mutable_input()))
    return false;
  if (!matchText("=>"))
    return fail("expected '=>'");
  if (!formals(*f.mutable_output()))
    return false;
  if (match('<') && !match('>')) {
    do {
      if (!valueInfo(*f.add_value_info()))
        return false;
    } while (match(','));
    if (!expect('>'))
      return false;
  }
  return nodes(*f.mutable_node(), 0);
}

bool TextParser::model(pb::ModelProto &m) {
  std::optional<std::string> exact;
  if (match('<')) {
    if (peek() != '>')
      do {
        std::string key, value;
        int64_t number;
        if (!word(key) || !expect(':'))
          return false;
        if (key == "ir_version" || key == "model_version") {
          if (!integer(number))
            return false;
          key == "ir_version" ? m.set_ir_version(number) : m.set_model_version(number);
        } else if (key == "opset_import") {
          if (!opsets(*m.mutable_opset_import()))
            return false;
        } else if (key == "metadata_props") {
          if (!pairs(*m.mutable_metadata_props()))
            return false;
        } else {
          if (!string(value))
            return false;
          if (key == "producer_name")
            m.set_producer_name(value);
          else if (key == "producer_version")
            m.set_producer_version(value);
          else if (key == "domain")
            m.set_domain(value);
          else if (key == "doc_string")
            m.set_doc_string(value);
          else if (key == "proto") {
            pb::ModelProto rest;
            if (!rest.ParsePartialFromString(value))
              return fail("expected the bytes of a message");
            m.MergeFrom(rest);
          } else if (key == "exact")
            exact = value;
          else
            return fail("expected a field of the model before it");
        }
      } while (match(','));
    if (!expect('>'))
      return false;
  }
  if (exact && !m.ParsePartialFromString(*exact))
    return fail("expected the bytes of a message");
  if (!graph(*m.mutable_graph(), 0))
    return false;
  while (peek())
    if (!function(*m.add_functions()))
      return false;
  return true;
}

} // namespace

absl::StatusOr<std::unique_ptr<Model>> parseText(Context &context, llvm::StringRef text, const std::string &path) {
  pb::ModelProto proto;
  TextParser parser(text);
  if (!parser.model(proto))
    return absl::InvalidArgumentError(absl::StrCat(path.empty() ? "text" : path, ": ", parser.error()));
  if (proto.ByteSizeLong() > INT32_MAX)
    return absl::ResourceExhaustedError(absl::StrCat(path, ": the model is over 2 GiB"));
  return importModel(context, FileSource::memory(proto.SerializePartialAsString()), path);
}

absl::StatusOr<std::unique_ptr<Model>> parseTextFile(Context &context, const std::string &path) {
  auto file = FileSource::open(path);
  if (!file.ok())
    return file.status();
  std::string text((*file)->size(), 0);
  if (absl::Status s = (*file)->read(0, text.size(), text.data()); !s.ok())
    return s;
  return parseText(context, text, path);
}

} // namespace onnxopt
