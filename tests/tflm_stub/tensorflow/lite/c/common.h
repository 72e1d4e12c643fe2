// Stub of TensorFlow Lite Micro's interface: the older path of the C types.
#ifndef TFLM_STUB_C_COMMON_H_
#define TFLM_STUB_C_COMMON_H_

#include "tensorflow/lite/core/c/common.h"

#endif  // TFLM_STUB_C_COMMON_H_
