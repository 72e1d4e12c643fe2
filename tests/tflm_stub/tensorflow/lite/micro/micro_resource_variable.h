// Stub of TensorFlow Lite Micro's interface: variables that outlive an inference.
#ifndef TFLM_STUB_MICRO_RESOURCE_VARIABLE_H_
#define TFLM_STUB_MICRO_RESOURCE_VARIABLE_H_

#include "tensorflow/lite/micro/micro_allocator.h"

TFLM_STUB_BEGIN

class MicroResourceVariables {
 public:
  static MicroResourceVariables* Create(MicroAllocator* allocator, int num_variables);

  int room() const { return room_; }  // Of the stub alone.

 private:
  explicit MicroResourceVariables(int room) : room_(room) {}
  int room_;
};

TFLM_STUB_END

#endif  // TFLM_STUB_MICRO_RESOURCE_VARIABLE_H_
