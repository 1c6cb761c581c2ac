// From IR objects to protobuf messages. Also used by the reader, to see what the default form would lose.
#pragma once

#include "onnxopt/ir/Graph.h"
#include "onnxopt/ir/Naming.h"

#include "onnxopt.pb.h"

namespace onnxopt {

uint64_t fingerprint(const std::string &bytes);

class ProtoWriter {
public:
  ProtoWriter(Context &context, std::shared_ptr<const FileSource> modelSource) : context_(context) {
    sources.push_back(std::move(modelSource));
  }

  /// Payload sources by index, as the blobs of the written message refer to them.
  std::vector<std::shared_ptr<const FileSource>> sources;
  /// Gives the external_data entries of a tensor whose elements go to (or stay in) a data file; null entries mean
  /// inline.
  std::function<bool(const TensorData &, std::vector<ExternalEntry> &)> placeExternal;
  /// Print from AsRead records where they still hold.
  bool useRecords = true;
  /// Refuse models whose outputs need an Identity first.
  bool requireLegal = true;

  absl::StatusOr<pb::ModelProto> model(const Model &m);

  void type(const Type &t, pb::TypeProto &out);
  void tensor(const TensorData &t, const std::string *name, pb::TensorProto &out);
  void valueInfo(const std::string &name, const Type *type, const std::string &doc, const Metadata &metadata,
                 const AsRead *record, pb::ValueInfoProto &out);
  void attribute(const Attribute &a, pb::AttributeProto &out);
  void sparse(const SparseTensorData &t, const std::string *name, pb::SparseTensorProto &out);
  /// Everything but operands, results and attributes.
  void nodeHead(const Node &n, pb::NodeProto &out);
  void graphHead(const Graph &g, pb::GraphProto &out);
  void functionHead(const Function &f, pb::FunctionProto &out);
  void modelHead(const Model &m, pb::ModelProto &out);

private:
  void graph(const Graph &g, pb::GraphProto &out);
  void function(const Function &f, pb::FunctionProto &out);
  void nodes(const Graph &g, google::protobuf::RepeatedPtrField<pb::NodeProto> &out);
  void valueInfos(const Graph &g, google::protobuf::RepeatedPtrField<pb::ValueInfoProto> &out);
  std::string nameOf(const Value *v) const { return v ? names_->name(v).str() : std::string(); }

  Context &context_;
  const Naming *names_ = nullptr;
  absl::Status status_;
};

} // namespace onnxopt
