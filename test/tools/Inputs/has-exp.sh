#!/bin/sh
# has-exp.sh ONNX_OPT MODEL: whether the model has an Exp.
"$1" "$2" | grep -q "Exp ("
