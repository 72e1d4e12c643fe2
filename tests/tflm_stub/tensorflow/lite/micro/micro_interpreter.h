// Stub of TensorFlow Lite Micro's interface: the interpreter.
#ifndef TFLM_STUB_MICRO_INTERPRETER_H_
#define TFLM_STUB_MICRO_INTERPRETER_H_

#include "tensorflow/lite/core/c/common.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_op_resolver.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"

#define TFLITE_SCHEMA_VERSION (3)

TFLM_STUB_BEGIN

class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver, uint8_t* tensor_arena,
                   size_t tensor_arena_size, MicroResourceVariables* resource_variables = nullptr,
                   MicroProfilerInterface* profiler = nullptr, bool preserve_all_tensors = false);
  MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver,
                   MicroAllocator* allocator, MicroResourceVariables* resource_variables = nullptr,
                   MicroProfilerInterface* profiler = nullptr);

  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteStatus Reset();
  TfLiteStatus initialization_status() const { return status_; }

  TfLiteTensor* input(size_t index);
  TfLiteTensor* output(size_t index);
  size_t inputs_size() const { return inputs_; }
  size_t outputs_size() const { return outputs_; }
  size_t arena_used_bytes() const { return allocator_ ? allocator_->used_bytes() : 0; }

 private:
  static const size_t kMost = 16;

  TfLiteStatus CheckOperators() const;
  TfLiteStatus CheckCode(uint32_t index) const;
  TfLiteStatus Place(const uint8_t* indices, TfLiteTensor* tensors, TfLiteIntArray* dims);

  const Model* model_;
  const MicroOpResolver& resolver_;
  MicroAllocator* allocator_;
  MicroResourceVariables* variables_;
  TfLiteStatus status_;
  bool allocated_;
  size_t inputs_;
  size_t outputs_;
  TfLiteTensor input_[kMost];
  TfLiteTensor output_[kMost];
  TfLiteIntArray input_dims_[kMost];
  TfLiteIntArray output_dims_[kMost];
};

TFLM_STUB_END

#endif  // TFLM_STUB_MICRO_INTERPRETER_H_
