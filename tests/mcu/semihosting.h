/* Text and an exit code from an emulated board to the emulator. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void semihosting_text(const char *text);
void semihosting_hex(uint32_t value); /* as 0x and eight digits */
void semihosting_exit(int code) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif

#endif
