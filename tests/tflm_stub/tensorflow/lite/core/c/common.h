// Stub of TensorFlow Lite Micro's interface: the C types. Written for edgepack's tests.
#ifndef TFLM_STUB_COMMON_H_
#define TFLM_STUB_COMMON_H_

#include <stddef.h>
#include <stdint.h>

#ifdef TFLM_STUB_NESTED
#define TFLM_STUB_TYPES_BEGIN namespace tflite { namespace micro {
#define TFLM_STUB_TYPES_END } }
#define TFLM_STUB_BEGIN namespace tflite { namespace micro {
#define TFLM_STUB_END } }
#else
#define TFLM_STUB_TYPES_BEGIN
#define TFLM_STUB_TYPES_END
#define TFLM_STUB_BEGIN namespace tflite {
#define TFLM_STUB_END }
#endif

TFLM_STUB_TYPES_BEGIN

enum TfLiteStatus {
  kTfLiteOk = 0,
  kTfLiteError = 1,
  kTfLiteDelegateError = 2,
  kTfLiteApplicationError = 3,
};

enum TfLiteType {
  kTfLiteNoType = 0,
  kTfLiteFloat32 = 1,
  kTfLiteInt32 = 2,
  kTfLiteUInt8 = 3,
  kTfLiteInt64 = 4,
  kTfLiteString = 5,
  kTfLiteBool = 6,
  kTfLiteInt16 = 7,
  kTfLiteComplex64 = 8,
  kTfLiteInt8 = 9,
  kTfLiteFloat16 = 10,
  kTfLiteFloat64 = 11,
  kTfLiteComplex128 = 12,
  kTfLiteUInt64 = 13,
  kTfLiteResource = 14,
  kTfLiteVariant = 15,
  kTfLiteUInt32 = 16,
  kTfLiteUInt16 = 17,
  kTfLiteInt4 = 18,
};

struct TfLiteIntArray {
  int size;
  int data[8];  // As long as it needs to be in the real one.
};

struct TfLiteQuantizationParams {
  float scale;
  int32_t zero_point;
};

union TfLitePtrUnion {
  int32_t* i32;
  uint32_t* u32;
  int64_t* i64;
  uint64_t* u64;
  float* f;
  double* f64;
  char* raw;
  const char* raw_const;
  uint8_t* uint8;
  bool* b;
  int16_t* i16;
  uint16_t* ui16;
  int8_t* int8;
  void* data;
};

struct TfLiteTensor {
  TfLitePtrUnion data;
  TfLiteIntArray* dims;
  TfLiteQuantizationParams params;
  size_t bytes;
  TfLiteType type;
  bool is_variable;
};

TFLM_STUB_TYPES_END

#endif  // TFLM_STUB_COMMON_H_
