// Stub of TensorFlow Lite Micro's interface: the operators that a program has.
#ifndef TFLM_STUB_MICRO_OP_RESOLVER_H_
#define TFLM_STUB_MICRO_OP_RESOLVER_H_

#include "tensorflow/lite/core/c/common.h"

TFLM_STUB_BEGIN

class MicroOpResolver {
 public:
  // Of the stub alone: whether an operator of a model is there.
  virtual bool Has(int builtin_code, const char* custom_name) const = 0;

 protected:
  ~MicroOpResolver() = default;
};

TFLM_STUB_END

#endif  // TFLM_STUB_MICRO_OP_RESOLVER_H_
