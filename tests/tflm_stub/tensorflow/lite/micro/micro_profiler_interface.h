// Stub of TensorFlow Lite Micro's interface: what may watch an inference.
#ifndef TFLM_STUB_MICRO_PROFILER_INTERFACE_H_
#define TFLM_STUB_MICRO_PROFILER_INTERFACE_H_

#include "tensorflow/lite/core/c/common.h"

TFLM_STUB_BEGIN

class MicroProfilerInterface {
 public:
  virtual uint32_t BeginEvent(const char* tag) = 0;
  virtual void EndEvent(uint32_t event_handle) = 0;

 protected:
  ~MicroProfilerInterface() = default;
};

TFLM_STUB_END

#endif  // TFLM_STUB_MICRO_PROFILER_INTERFACE_H_
