// Padding, strides and output sizes of sliding windows.
#include "onnxopt/ops/nn/Window.h"

namespace onnxopt::nn {

static Dims orOnes(const std::vector<int64_t> &v, size_t n) {
  return v.empty() ? Dims(n, 1) : Dims(v.begin(), v.end());
}

std::optional<Windows> resolve(const NodeView &node, llvm::ArrayRef<int64_t> input, llvm::ArrayRef<int64_t> kernel,
                               std::string &why) {
  size_t n = input.size();
  Windows w;
  w.kernel.assign(kernel.begin(), kernel.end());
  w.strides = orOnes(node.getInts("strides"), n);
  w.dilations = orOnes(node.getInts("dilations"), n);
  std::vector<int64_t> pads = node.getInts("pads");
  if (pads.empty())
    pads.assign(2 * n, 0);
  if (kernel.size() != n || w.strides.size() != n || w.dilations.size() != n || pads.size() != 2 * n) {
    why = "kernel_shape, strides, dilations or pads do not match the number of spatial dimensions";
    return std::nullopt;
  }
  std::string autoPad = node.getString("auto_pad", "NOTSET");
  bool ceil = node.getInt("ceil_mode");
  for (size_t i = 0; i < n; ++i) {
    if (w.strides[i] <= 0 || w.dilations[i] <= 0 || kernel[i] <= 0) {
      why = "strides, dilations and kernel sizes must be positive";
      return std::nullopt;
    }
    int64_t extent = (kernel[i] - 1) * w.dilations[i] + 1, begin = pads[i], end = pads[i + n], out;
    if (autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER") {
      out = (input[i] + w.strides[i] - 1) / w.strides[i];
      int64_t total = std::max<int64_t>(0, (out - 1) * w.strides[i] + extent - input[i]);
      begin = autoPad == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
    } else {
      const bool valid = autoPad == "VALID"; // no padding, no partial windows
      if (valid)
        begin = end = 0;
      int64_t room = input[i] + begin + end - extent;
      if (room < 0 && (valid || !ceil || room + w.strides[i] <= 0)) {
        out = -1; // not rounded: implementations disagree on which way
      } else if (ceil && !valid) {
        out = (room + w.strides[i] - 1) / w.strides[i] + 1;
        if ((out - 1) * w.strides[i] >= input[i] + begin) // the last window must start in the input or its left pad
          --out;
      } else {
        out = room / w.strides[i] + 1;
      }
    }
    if (out < 0) {
      why = "the window is larger than the padded input";
      return std::nullopt;
    }
    w.padBegin.push_back(begin);
    w.padEnd.push_back(end);
    w.output.push_back(out);
  }
  return w;
}

bool checkKernelShape(InferContext &ctx, llvm::ArrayRef<Dim> weights) {
  if (!ctx.hasAttribute("kernel_shape"))
    return true;
  const std::vector<int64_t> kernel = ctx.getInts("kernel_shape");
  if (kernel.size() != weights.size()) {
    ctx.fail("kernel_shape does not match the weight's rank");
    return false;
  }
  for (size_t i = 0; i < kernel.size(); ++i)
    ctx.requireEqual(ctx.constantDim(kernel[i]), weights[i], "kernel_shape differs from the weight's sizes");
  return true;
}

bool inferOutput(InferContext &ctx, llvm::ArrayRef<Dim> input, llvm::ArrayRef<Dim> kernel,
                 llvm::SmallVectorImpl<Dim> &out) {
  size_t n = input.size();
  std::vector<int64_t> strides = ctx.getInts("strides"), dilations = ctx.getInts("dilations"),
                       pads = ctx.getInts("pads");
  std::string autoPad = ctx.getString("auto_pad", "NOTSET");
  if (autoPad != "NOTSET" && autoPad != "VALID" && autoPad != "SAME_UPPER" && autoPad != "SAME_LOWER") {
    ctx.fail("auto_pad '" + autoPad + "' is unknown");
    return false;
  }
  if ((!kernel.empty() && kernel.size() != n) || (!strides.empty() && strides.size() != n) ||
      (!dilations.empty() && dilations.size() != n) || (!pads.empty() && pads.size() != 2 * n)) {
    ctx.fail("kernel_shape, strides, dilations or pads do not match the " + std::to_string(n) + " spatial dimensions");
    return false;
  }
  if (ctx.hasAttribute("kernel_shape") && ctx.getInts("kernel_shape").size() != n) {
    ctx.fail("kernel_shape does not match the " + std::to_string(n) + " spatial dimensions");
    return false;
  }
  for (size_t i = 0; i < n; ++i) {
    bool same = autoPad.rfind("SAME", 0) == 0;
    if ((kernel.empty() || !kernel[i]) && !same) {
      out.push_back(ctx.freshDim());
      continue;
    }
    rules::Window w;
    w.kernel = kernel.empty() ? Dim() : kernel[i];
    w.stride = strides.empty() ? 1 : strides[i];
    w.dilation = dilations.empty() ? 1 : dilations[i];
    w.padBegin = pads.empty() ? 0 : pads[i];
    w.padEnd = pads.empty() ? 0 : pads[i + n];
    w.ceil = ctx.getInt("ceil_mode");
    if (w.stride <= 0 || w.dilation <= 0 || (w.kernel && ctx.dims().range(w.kernel).hi <= 0)) {
      ctx.fail("strides, dilations and kernel sizes must be positive");
      return false;
    }
    Dim d = rules::windowOutput(ctx.dims(), input[i], w, autoPad);
    if (d && d.isConstant() && d.constant() < 0)
      ctx.fail("the window is larger than the padded input");
    out.push_back(d ? d : ctx.freshDim());
  }
  return true;
}

} // namespace onnxopt::nn
