// The one file that knows oneDNN.
#include "onnxopt/ops/support/FastMath.h"

#include <atomic>

#ifdef ONNXOPT_HAVE_ONEDNN
#include <dnnl.h>
#endif

namespace onnxopt::fastmath {

static std::atomic<bool> enabled{true};
void setEnabled(bool on) { enabled = on; }

#ifndef ONNXOPT_HAVE_ONEDNN
bool available() { return false; }
bool gemm(bool, bool, int64_t, int64_t, int64_t, const float *, const float *, float *) { return false; }
bool conv(const ConvShape &, const float *, const float *, const float *, float *) { return false; }
#else

bool available() { return enabled; }

bool gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c) {
  if (!enabled || !m || !n || !k)
    return false;
  return dnnl_sgemm(transA ? 'T' : 'N', transB ? 'T' : 'N', m, n, k, 1.0f, a, transA ? m : k, b, transB ? k : n, 0.0f,
                    c, n) == dnnl_success;
}

namespace {

dnnl_engine_t engine() {
  static dnnl_engine_t e = [] {
    dnnl_engine_t made = nullptr;
    dnnl_engine_create(&made, dnnl_cpu, 0);
    return made;
  }();
  return e;
}

/// Frees what was made so far when a step fails.
struct ConvRun {
  dnnl_primitive_desc_t description = nullptr;
  dnnl_primitive_t primitive = nullptr;
  dnnl_stream_t stream = nullptr;
  llvm::SmallVector<dnnl_memory_t, 8> memories;
  llvm::SmallVector<dnnl_primitive_t, 4> reorders;
  ~ConvRun() {
    for (dnnl_primitive_t p : reorders)
      dnnl_primitive_destroy(p);
    for (dnnl_memory_t m : memories)
      dnnl_memory_destroy(m);
    if (primitive)
      dnnl_primitive_destroy(primitive);
    if (description)
      dnnl_primitive_desc_destroy(description);
    if (stream)
      dnnl_stream_destroy(stream);
  }
  dnnl_memory_t memory(const dnnl_memory_desc_t &d, void *handle) {
    dnnl_memory_t m = nullptr;
    if (dnnl_memory_create(&m, &d, engine(), handle) != dnnl_success)
      return nullptr;
    memories.push_back(m);
    return m;
  }
  bool reorder(dnnl_memory_t from, const dnnl_memory_desc_t &fromDesc, dnnl_memory_t to,
               const dnnl_memory_desc_t &toDesc) {
    dnnl_primitive_desc_t d = nullptr;
    if (dnnl_reorder_primitive_desc_create(&d, &fromDesc, engine(), &toDesc, engine(), nullptr) != dnnl_success)
      return false;
    dnnl_primitive_t p = nullptr;
    bool ok = dnnl_primitive_create(&p, d) == dnnl_success;
    dnnl_primitive_desc_destroy(d);
    if (!ok)
      return false;
    reorders.push_back(p);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    return dnnl_primitive_execute(p, stream, 2, args) == dnnl_success;
  }
};

} // namespace

bool conv(const ConvShape &s, const float *x, const float *w, const float *bias, float *y) {
  size_t spatial = s.input.size() - 2;
  if (!enabled || spatial < 1 || spatial > 3)
    return false;
  for (llvm::ArrayRef<int64_t> d :
       {llvm::ArrayRef<int64_t>(s.input), llvm::ArrayRef<int64_t>(s.weight), llvm::ArrayRef<int64_t>(s.output)})
    for (int64_t v : d)
      if (v <= 0)
        return false;
  static const dnnl_format_tag_t plain[] = {dnnl_ab, dnnl_abc, dnnl_abcd, dnnl_abcde, dnnl_abcdef};
  Dims weight(s.weight);
  if (s.groups > 1) {
    weight.insert(weight.begin(), s.groups);
    weight[1] /= s.groups;
  }
  auto desc = [&](llvm::ArrayRef<int64_t> dims, bool any, dnnl_memory_desc_t &out) {
    return dnnl_memory_desc_init_by_tag(&out, dims.size(), dims.data(), dnnl_f32,
                                        any ? dnnl_format_tag_any : plain[dims.size() - 2]) == dnnl_success;
  };
  dnnl_memory_desc_t px, pw, py, pb, ax, aw, ay;
  int64_t biasDims[] = {s.output[1]};
  if (!desc(s.input, false, px) || !desc(weight, false, pw) || !desc(s.output, false, py) || !desc(s.input, true, ax) ||
      !desc(weight, true, aw) || !desc(s.output, true, ay) ||
      dnnl_memory_desc_init_by_tag(&pb, 1, biasDims, dnnl_f32, dnnl_a) != dnnl_success)
    return false;
  Dims dilations;
  for (int64_t d : s.dilations)
    dilations.push_back(d - 1);
  dnnl_convolution_desc_t cd;
  if (dnnl_dilated_convolution_forward_desc_init(&cd, dnnl_forward_inference, dnnl_convolution_direct, &ax, &aw,
                                                 bias ? &pb : nullptr, &ay, s.strides.data(), dilations.data(),
                                                 s.padBegin.data(), s.padEnd.data()) != dnnl_success)
    return false;
  ConvRun run;
  if (dnnl_primitive_desc_create(&run.description, &cd, nullptr, engine(), nullptr) != dnnl_success ||
      dnnl_primitive_create(&run.primitive, run.description) != dnnl_success ||
      dnnl_stream_create(&run.stream, engine(), dnnl_stream_default_flags) != dnnl_success)
    return false;
  const dnnl_memory_desc_t &ix = *dnnl_primitive_desc_query_md(run.description, dnnl_query_src_md, 0);
  const dnnl_memory_desc_t &iw = *dnnl_primitive_desc_query_md(run.description, dnnl_query_weights_md, 0);
  const dnnl_memory_desc_t &iy = *dnnl_primitive_desc_query_md(run.description, dnnl_query_dst_md, 0);
  // Operands in the layout that the primitive asks for.
  auto ready = [&](const dnnl_memory_desc_t &have, const dnnl_memory_desc_t &want, const float *data) -> dnnl_memory_t {
    dnnl_memory_t m = run.memory(have, const_cast<float *>(data));
    if (!m || dnnl_memory_desc_equal(&have, &want))
      return m;
    dnnl_memory_t r = run.memory(want, DNNL_MEMORY_ALLOCATE);
    return r && run.reorder(m, have, r, want) ? r : nullptr;
  };
  dnnl_memory_t mx = ready(px, ix, x), mw = ready(pw, iw, w);
  bool direct = dnnl_memory_desc_equal(&py, &iy);
  dnnl_memory_t plainY = run.memory(py, y), my = direct ? plainY : run.memory(iy, DNNL_MEMORY_ALLOCATE);
  dnnl_memory_t mb = bias ? run.memory(pb, const_cast<float *>(bias)) : nullptr;
  if (!mx || !mw || !my || (bias && !mb))
    return false;
  dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, mw}, {DNNL_ARG_DST, my}, {DNNL_ARG_BIAS, mb}};
  if (dnnl_primitive_execute(run.primitive, run.stream, bias ? 4 : 3, args) != dnnl_success)
    return false;
  if (!direct && !run.reorder(my, iy, plainY, py))
    return false;
  return dnnl_stream_wait(run.stream) == dnnl_success;
}

#endif

} // namespace onnxopt::fastmath
