// Tensor files.
#include "onnxopt/exec/DataFiles.h"

#include "onnxopt/ir/Export.h"
#include "onnxopt/ir/Import.h"
#include "onnxopt/ops/support/Kernels.h"

#include "absl/strings/str_cat.h"

#include <cstring>
#include <filesystem>

namespace onnxopt::exec {

absl::StatusOr<std::string> readFile(const std::string &path) {
  auto f = FileSource::open(path);
  if (!f.ok())
    return f.status();
  std::string s((*f)->size(), 0);
  if (absl::Status st = (*f)->read(0, s.size(), s.data()); !st.ok())
    return st;
  return s;
}

namespace {

/// A field of a message: a whole number or, where it has a length, its bytes.
struct Field {
  unsigned number;
  uint64_t integer = 0;
  std::string bytes;
};
/// The fields of a message; nullopt when malformed.
std::optional<std::vector<Field>> fields(const std::string &bytes) {
  std::vector<Field> out;
  size_t at = 0;
  auto varint = [&]() -> std::optional<uint64_t> {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && at < bytes.size(); shift += 7) {
      uint8_t b = bytes[at++];
      v |= uint64_t(b & 127) << shift;
      if (b < 128)
        return v;
    }
    return std::nullopt;
  };
  while (at < bytes.size()) {
    auto tag = varint();
    if (!tag)
      return std::nullopt;
    switch (*tag & 7) {
    case 0: {
      auto n = varint();
      if (!n)
        return std::nullopt;
      out.push_back({unsigned(*tag >> 3), *n, {}});
      break;
    }
    case 1:
      at += 8;
      break;
    case 5:
      at += 4;
      break;
    case 2: {
      auto n = varint();
      if (!n || *n > bytes.size() - at)
        return std::nullopt;
      out.push_back({unsigned(*tag >> 3), 0, bytes.substr(at, *n)});
      at += *n;
      break;
    }
    default:
      return std::nullopt;
    }
  }
  return out;
}

absl::StatusOr<Datum> parse(Context &context, const std::string &bytes, const Type &type, unsigned depth);

/// MapProto: 3 keys that are numbers, 4 those that are strings, 5 a sequence of values.
absl::StatusOr<Datum> parseMap(Context &context, const std::vector<Field> &parts, const Type &type, unsigned depth) {
  std::vector<int64_t> numbers;
  std::vector<std::string> names;
  Datum values = Datum::sequence({});
  for (const Field &f : parts) {
    if (f.number == 3 && !f.bytes.empty())
      return absl::UnimplementedError("packed keys of a map");
    if (f.number == 3)
      numbers.push_back(int64_t(f.integer));
    else if (f.number == 4)
      names.push_back(f.bytes);
    if (f.number != 5)
      continue;
    auto d = parse(context, f.bytes, Type::sequenceOf(*type.inner), depth + 1);
    if (!d.ok())
      return d;
    values = std::move(*d);
  }
  if (type.element != ElementType::Int64 && type.element != ElementType::String)
    return absl::UnimplementedError("keys of a map that are neither int64 nor strings");
  Tensor keys = type.element == ElementType::String ? Tensor::stringVector(std::move(names)) : Tensor::vector(numbers);
  if (keys.size() != int64_t(values.elements().size()))
    return absl::InvalidArgumentError(
        absl::StrCat("a map of ", keys.size(), " keys and ", values.elements().size(), " values"));
  return Datum::map(std::move(keys), *values.items);
}

absl::StatusOr<Datum> parse(Context &context, const std::string &bytes, const Type &type, unsigned depth) {
  if (depth > 16)
    return absl::InvalidArgumentError("values are nested too deeply");
  if (type.kind != Type::Sequence && type.kind != Type::Optional && type.kind != Type::Map) {
    auto t = parseTensorProto(context, bytes);
    if (!t.ok())
      return t.status();
    return Datum(std::move(*t));
  }
  auto parts = fields(bytes);
  if (!parts)
    return absl::InvalidArgumentError("malformed message");
  if (type.kind == Type::Map)
    return parseMap(context, *parts, type, depth);
  // SequenceProto and OptionalProto: 3 tensors, 5 sequences, 6 maps, 7 optionals.
  std::vector<Datum> items;
  for (const Field &f : *parts) {
    if (f.number != 3 && f.number != 5 && f.number != 6 && f.number != 7)
      continue;
    auto d = parse(context, f.bytes, *type.inner, depth + 1);
    if (!d.ok())
      return d;
    items.push_back(std::move(*d));
  }
  if (type.kind == Type::Optional)
    return items.empty() ? Datum() : items[0];
  return Datum::sequence(std::move(items));
}

struct NpyType {
  ElementType type;
  const char *code;
};
const NpyType kNpyTypes[] = {
    {ElementType::Float, "<f4"},     {ElementType::Double, "<f8"},      {ElementType::Float16, "<f2"},
    {ElementType::Int64, "<i8"},     {ElementType::Int32, "<i4"},       {ElementType::Int16, "<i2"},
    {ElementType::Int8, "|i1"},      {ElementType::Uint64, "<u8"},      {ElementType::Uint32, "<u4"},
    {ElementType::Uint16, "<u2"},    {ElementType::Uint8, "|u1"},       {ElementType::Bool, "|b1"},
    {ElementType::Complex64, "<c8"}, {ElementType::Complex128, "<c16"},
};

} // namespace

absl::StatusOr<Datum> readPb(Context &context, const std::string &path, const Type &type) {
  auto bytes = readFile(path);
  if (!bytes.ok())
    return bytes.status();
  auto d = parse(context, *bytes, type, 0);
  if (!d.ok())
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", d.status().message()));
  return d;
}

absl::StatusOr<std::map<std::string, Datum>> readInputs(Context &context, const Graph &graph,
                                                        const std::string &folder) {
  std::map<std::string, Datum> inputs;
  unsigned j = 0;
  for (const auto &v : graph.inputs()) {
    const std::string path = folder + "/input_" + std::to_string(j++) + ".pb";
    if (!std::filesystem::exists(path))
      continue;
    auto d = readPb(context, path, v->declaredType() ? *v->declaredType() : Type());
    if (!d.ok())
      return d.status();
    inputs[v->name().str()] = std::move(*d);
  }
  return inputs;
}

absl::StatusOr<Tensor> readNpy(const std::string &path) {
  auto bytes = readFile(path);
  if (!bytes.ok())
    return bytes.status();
  auto fail = [&](const char *why) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a readable .npy file: ", why));
  };
  const std::string &b = *bytes;
  if (b.size() < 12 || b.compare(0, 6, "\x93NUMPY") != 0)
    return fail("no magic");
  size_t start = b[6] == 1 ? 10 : 12, length = 0;
  std::memcpy(&length, b.data() + 8, start - 8);
  if (start + length > b.size())
    return fail("truncated header");
  llvm::StringRef header(b.data() + start, length);
  if (header.contains("'fortran_order': True"))
    return fail("Fortran order");
  llvm::StringRef code = header.split("'descr': '").second.split('\'').first;
  llvm::StringRef shape = header.split("'shape': (").second.split(')').first;
  ElementType type = ElementType::Undefined;
  for (const NpyType &t : kNpyTypes)
    if (code == t.code ||
        (code.size() > 1 && code.drop_front() == llvm::StringRef(t.code).drop_front() && code[0] != '>'))
      type = t.type;
  if (type == ElementType::Undefined)
    return fail("element type");
  Dims dims;
  llvm::SmallVector<llvm::StringRef, 4> parts;
  shape.split(parts, ',', -1, false);
  for (llvm::StringRef p : parts) {
    int64_t d;
    if (p.trim().empty())
      continue;
    if (p.trim().getAsInteger(10, d) || d < 0)
      return fail("shape");
    dims.push_back(d);
  }
  auto t = Tensor::create(type, dims);
  if (!t.ok())
    return t;
  if (b.size() - start - length < t->byteSize())
    return fail("truncated data");
  std::memcpy(t->mutableBytes(), b.data() + start + length, t->byteSize());
  return t;
}

absl::Status writeNpy(const std::string &path, const Tensor &tensor) {
  Tensor t = tensor;
  if (t.isString())
    return absl::UnimplementedError("strings are not written as .npy");
  const char *code = nullptr;
  if (bitWidth(t.type()) < 8 && !isFloating(t.type())) {
    ElementType as =
        t.type() == ElementType::Int4 || t.type() == ElementType::Int2 ? ElementType::Int8 : ElementType::Uint8;
    Tensor wide(as, t.dims());
    for (int64_t i = 0; i < t.size(); ++i)
      wide.mutableData<int8_t>()[i] = int8_t(t.intAt(i));
    t = wide;
  } else if (isSmallFloat(t.type()) && t.type() != ElementType::Float16) {
    t = kernels::toFloat(t);
  }
  for (const NpyType &n : kNpyTypes)
    if (n.type == t.type())
      code = n.code;
  if (!code)
    return absl::UnimplementedError("element type " + nameOf(t.type()).str() + " is not written as .npy");
  std::string shape;
  for (int64_t d : t.dims())
    absl::StrAppend(&shape, d, ",");
  std::string header = absl::StrCat("{'descr': '", code, "', 'fortran_order': False, 'shape': (", shape, "), }");
  while ((10 + header.size() + 1) % 64)
    header += ' ';
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += char(header.size() & 255);
  out += char(header.size() >> 8);
  out += header;
  out.append(t.bytes(), t.byteSize());
  return writeFileAtomically(path, out);
}

} // namespace onnxopt::exec
