// Stub of TensorFlow Lite Micro's interface: the owner of an arena.
#ifndef TFLM_STUB_MICRO_ALLOCATOR_H_
#define TFLM_STUB_MICRO_ALLOCATOR_H_

#include "tensorflow/lite/core/c/common.h"

TFLM_STUB_BEGIN

enum class MemoryPlannerType { kLinear, kGreedy };

class MicroAllocator {
 public:
  // The arena holds the allocator itself; null where it is too small for that.
  static MicroAllocator* Create(uint8_t* tensor_arena, size_t arena_size,
                                MemoryPlannerType type = MemoryPlannerType::kGreedy);

  uint8_t* Take(size_t bytes);  // Of the stub alone: aligned to 16 bytes, null where full.
  size_t used_bytes() const { return used_; }

 private:
  friend class MicroInterpreter;
  MicroAllocator(uint8_t* arena, size_t size) : arena_(arena), size_(size), used_(0) {}

  uint8_t* arena_;
  size_t size_;
  size_t used_;
};

TFLM_STUB_END

#endif  // TFLM_STUB_MICRO_ALLOCATOR_H_
