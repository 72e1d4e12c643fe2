// Stub of TensorFlow Lite Micro's interface: what a board needs at its start.
#ifndef TFLM_STUB_SYSTEM_SETUP_H_
#define TFLM_STUB_SYSTEM_SETUP_H_

#include "tensorflow/lite/core/c/common.h"

TFLM_STUB_BEGIN
void InitializeTarget();
TFLM_STUB_END

#endif  // TFLM_STUB_SYSTEM_SETUP_H_
