// Stub of TensorFlow Lite Micro's interface: printing.
#ifndef TFLM_STUB_MICRO_LOG_H_
#define TFLM_STUB_MICRO_LOG_H_

void MicroPrintf(const char* format, ...);

#endif  // TFLM_STUB_MICRO_LOG_H_
