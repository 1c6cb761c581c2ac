// onnx-opt: runs passes over an ONNX model.
#include "onnxopt/tools/OptMain.h"

int main(int argc, char **argv) { return onnxopt::onnxOptMain(argc, argv, onnxopt::PassRegistry()); }
