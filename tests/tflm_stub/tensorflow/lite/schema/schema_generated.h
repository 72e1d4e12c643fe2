// Stub of TensorFlow Lite's schema: a model's version, and nothing else of it.
#ifndef TFLM_STUB_SCHEMA_GENERATED_H_
#define TFLM_STUB_SCHEMA_GENERATED_H_

#include <stdint.h>

namespace tflite {

class Model {
 public:
  uint32_t version() const;

 private:
  Model() = delete;  // Lies in the flatbuffer, as in the real one.
};

const Model* GetModel(const void* buffer);

}  // namespace tflite

#endif  // TFLM_STUB_SCHEMA_GENERATED_H_
