// The bodies of the stub of TensorFlow Lite Micro, with a reader of flatbuffers of a few lines.
#include "tflm_stub.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <new>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"

namespace tflm_stub {
Record record = {0, 0, 0, 0, 0, 0, -1, 0, false};
Inference on_invoke = nullptr;
}  // namespace tflm_stub

namespace {

template <class T>
T Read(const uint8_t* at) {
  T value;
  memcpy(&value, at, sizeof value);
  return value;
}

// Where a field of a table lies; null where it is left out.
const uint8_t* Field(const uint8_t* table, int number) {
  const uint8_t* vtable = table - Read<int32_t>(table);
  const int place = 4 + 2 * number;
  if (place + 2 > Read<uint16_t>(vtable)) return nullptr;
  const uint16_t offset = Read<uint16_t>(vtable + place);
  return offset ? table + offset : nullptr;
}

template <class T>
T Scalar(const uint8_t* table, int number, T otherwise) {
  const uint8_t* at = Field(table, number);
  return at ? Read<T>(at) : otherwise;
}

// A vector, string or table that a field points to: a vector begins with its length.
const uint8_t* Child(const uint8_t* table, int number) {
  const uint8_t* at = Field(table, number);
  return at ? at + Read<uint32_t>(at) : nullptr;
}

uint32_t Length(const uint8_t* vector) { return vector ? Read<uint32_t>(vector) : 0; }

const uint8_t* Item(const uint8_t* vector, uint32_t index) {
  const uint8_t* at = vector + 4 + 4 * index;
  return at + Read<uint32_t>(at);
}

int32_t Number(const uint8_t* vector, uint32_t index) {
  return Read<int32_t>(vector + 4 + 4 * index);
}

const uint8_t* MainGraph(const tflite::Model* model) {
  return Item(Child(reinterpret_cast<const uint8_t*>(model), 2), 0);
}

const int kVarHandle = 142;

}  // namespace

namespace tflite {

const Model* GetModel(const void* buffer) {
  tflm_stub::record.model_aligned = reinterpret_cast<uintptr_t>(buffer) % 16 == 0;
  const uint8_t* bytes = static_cast<const uint8_t*>(buffer);
  return reinterpret_cast<const Model*>(bytes + Read<uint32_t>(bytes));
}

uint32_t Model::version() const {
  return Scalar<uint32_t>(reinterpret_cast<const uint8_t*>(this), 0, 0);
}

}  // namespace tflite

void MicroPrintf(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
}

TFLM_STUB_BEGIN

namespace {

struct Kind {
  TfLiteType type;
  size_t bytes;
};

// By the number that the schema gives a type of tensor.
Kind KindOf(int8_t number) {
  switch (number) {
    case 0: return {kTfLiteFloat32, 4};
    case 2: return {kTfLiteInt32, 4};
    case 3: return {kTfLiteUInt8, 1};
    case 4: return {kTfLiteInt64, 8};
    case 6: return {kTfLiteBool, 1};
    case 7: return {kTfLiteInt16, 2};
    case 9: return {kTfLiteInt8, 1};
    default: return {kTfLiteNoType, 0};
  }
}

}  // namespace

void InitializeTarget() {}

MicroAllocator* MicroAllocator::Create(uint8_t* tensor_arena, size_t arena_size,
                                       MemoryPlannerType) {
  tflm_stub::record.arena = arena_size;
  if (reinterpret_cast<uintptr_t>(tensor_arena) % 16 || arena_size < sizeof(MicroAllocator)) {
    return nullptr;
  }
  MicroAllocator plan(tensor_arena, arena_size);
  uint8_t* own = plan.Take(sizeof(MicroAllocator));
  return own ? new (own) MicroAllocator(plan) : nullptr;
}

uint8_t* MicroAllocator::Take(size_t bytes) {
  const size_t whole = (bytes + 15) / 16 * 16;
  if (whole > size_ - used_) return nullptr;
  used_ += whole;
  return arena_ + used_ - whole;
}

MicroResourceVariables* MicroResourceVariables::Create(MicroAllocator* allocator,
                                                       int num_variables) {
  tflm_stub::record.variables = num_variables;
  uint8_t* own = allocator ? allocator->Take(sizeof(MicroResourceVariables)) : nullptr;
  return own ? new (own) MicroResourceVariables(num_variables) : nullptr;
}

MicroInterpreter::MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver,
                                   uint8_t* tensor_arena, size_t tensor_arena_size,
                                   MicroResourceVariables* resource_variables,
                                   MicroProfilerInterface* profiler, bool)
    : MicroInterpreter(model, op_resolver, MicroAllocator::Create(tensor_arena, tensor_arena_size),
                       resource_variables, profiler) {}

MicroInterpreter::MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver,
                                   MicroAllocator* allocator,
                                   MicroResourceVariables* resource_variables,
                                   MicroProfilerInterface*)
    : model_(model),
      resolver_(op_resolver),
      allocator_(allocator),
      variables_(resource_variables),
      status_(allocator ? kTfLiteOk : kTfLiteError),
      allocated_(false),
      inputs_(Length(Child(MainGraph(model), 1))),
      outputs_(Length(Child(MainGraph(model), 2))),
      input_(),
      output_(),
      input_dims_(),
      output_dims_() {}

TfLiteStatus MicroInterpreter::AllocateTensors() {
  if (status_ != kTfLiteOk || inputs_ > kMost || outputs_ > kMost) return kTfLiteError;
  if (allocated_) return kTfLiteOk;
  if (CheckOperators() != kTfLiteOk) return kTfLiteError;
  if (Place(Child(MainGraph(model_), 1), input_, input_dims_) != kTfLiteOk) return kTfLiteError;
  if (Place(Child(MainGraph(model_), 2), output_, output_dims_) != kTfLiteOk) return kTfLiteError;
  allocated_ = true;
  ++tflm_stub::record.allocated;
  return kTfLiteOk;
}

// Only of operators that run: a table of codes may hold others.
TfLiteStatus MicroInterpreter::CheckOperators() const {
  const uint8_t* graphs = Child(reinterpret_cast<const uint8_t*>(model_), 2);
  for (uint32_t g = 0; g < Length(graphs); ++g) {
    const uint8_t* operators = Child(Item(graphs, g), 3);
    for (uint32_t i = 0; i < Length(operators); ++i) {
      if (CheckCode(Scalar<uint32_t>(Item(operators, i), 0, 0)) != kTfLiteOk) return kTfLiteError;
    }
  }
  return kTfLiteOk;
}

TfLiteStatus MicroInterpreter::CheckCode(uint32_t index) const {
  const uint8_t* code = Item(Child(reinterpret_cast<const uint8_t*>(model_), 1), index);
  const int old = Scalar<int8_t>(code, 0, 0);
  const int now = Scalar<int32_t>(code, 3, 0);
  const uint8_t* name = Child(code, 1);
  const int builtin = old > now ? old : now;
  if (!resolver_.Has(builtin, name ? reinterpret_cast<const char*>(name + 4) : "")) {
    MicroPrintf("Didn't find op for builtin opcode %d", builtin);
    return kTfLiteError;
  }
  return builtin == kVarHandle && (!variables_ || variables_->room() < 1) ? kTfLiteError : kTfLiteOk;
}

TfLiteStatus MicroInterpreter::Place(const uint8_t* indices, TfLiteTensor* tensors,
                                     TfLiteIntArray* dims) {
  const uint8_t* all = Child(MainGraph(model_), 0);
  for (uint32_t i = 0; i < Length(indices); ++i) {
    const uint8_t* tensor = Item(all, static_cast<uint32_t>(Number(indices, i)));
    const Kind kind = KindOf(Scalar<int8_t>(tensor, 1, 0));
    const uint8_t* shape = Child(tensor, 0);
    if (kind.bytes == 0 || Length(shape) > 8) return kTfLiteError;
    size_t bytes = kind.bytes;
    dims[i].size = static_cast<int>(Length(shape));
    for (uint32_t d = 0; d < Length(shape); ++d) {
      dims[i].data[d] = Number(shape, d);
      bytes *= static_cast<size_t>(dims[i].data[d]);
    }
    const uint8_t* quantization = Child(tensor, 4);
    const uint8_t* scale = quantization ? Child(quantization, 2) : nullptr;
    const uint8_t* zero = quantization ? Child(quantization, 3) : nullptr;
    tensors[i].params.scale = Length(scale) ? Read<float>(scale + 4) : 0.0f;
    // The low half of 64 bits.
    tensors[i].params.zero_point = Length(zero) ? Read<int32_t>(zero + 4) : 0;
    tensors[i].dims = &dims[i];
    tensors[i].bytes = bytes;
    tensors[i].type = kind.type;
    tensors[i].is_variable = false;
    tensors[i].data.uint8 = allocator_->Take(bytes);
    if (!tensors[i].data.uint8) return kTfLiteError;
  }
  return kTfLiteOk;
}

TfLiteTensor* MicroInterpreter::input(size_t index) {
  return allocated_ && index < inputs_ ? &input_[index] : nullptr;
}

TfLiteTensor* MicroInterpreter::output(size_t index) {
  return allocated_ && index < outputs_ ? &output_[index] : nullptr;
}

TfLiteStatus MicroInterpreter::Invoke() {
  ++tflm_stub::record.invoked;
  if (!allocated_ && AllocateTensors() != kTfLiteOk) return kTfLiteError;
  if (tflm_stub::on_invoke) {
    const bool well = tflm_stub::on_invoke(input_, inputs_, output_, outputs_);
    return well ? kTfLiteOk : kTfLiteError;
  }
  unsigned sum = 0;
  for (size_t i = 0; i < inputs_; ++i) {
    for (size_t b = 0; b < input_[i].bytes; ++b) sum += input_[i].data.uint8[b];
  }
  for (size_t i = 0; i < outputs_; ++i) {
    for (size_t b = 0; b < output_[i].bytes; ++b) {
      output_[i].data.uint8[b] = static_cast<uint8_t>(sum + b);
    }
  }
  return kTfLiteOk;
}

TfLiteStatus MicroInterpreter::Reset() {
  ++tflm_stub::record.resets;
  return kTfLiteOk;
}

TFLM_STUB_END
