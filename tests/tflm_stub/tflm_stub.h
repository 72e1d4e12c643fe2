// What a test may look at and set of the stub of TensorFlow Lite Micro.
#ifndef TFLM_STUB_H_
#define TFLM_STUB_H_

#include <stddef.h>

#include "tensorflow/lite/core/c/common.h"

namespace tflm_stub {

#ifdef TFLM_STUB_NESTED
using Tensor = tflite::micro::TfLiteTensor;
#else
using Tensor = TfLiteTensor;
#endif

struct Record {
  int added;          // Operators in the resolver that was filled last.
  int room;           // How many it can hold.
  int refused;        // Calls of AddX that gave kTfLiteError.
  int allocated;      // Calls of AllocateTensors that gave kTfLiteOk.
  int invoked;        // Calls of Invoke.
  int resets;         // Calls of Reset.
  int variables;      // Room for resource variables; -1 where none was made.
  size_t arena;       // Bytes of the arena.
  bool model_aligned; // Whether the model given to GetModel lies at a multiple of 16.
};

extern Record record;

// Fills the outputs and says whether that went well; null for what the stub does by itself.
using Inference = bool (*)(const Tensor* inputs, size_t input_count, Tensor* outputs,
                           size_t output_count);
extern Inference on_invoke;

}  // namespace tflm_stub

#endif  // TFLM_STUB_H_
