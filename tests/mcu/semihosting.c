/* Arm's semihosting calls, and newlib's system calls on top of them, so that printf works. */
#include "semihosting.h"

#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>

enum Operation { WRITE_CHARACTER = 0x03, WRITE_TEXT = 0x04, EXIT_EXTENDED = 0x20 };
#define APPLICATION_EXIT 0x20026u

static void call(enum Operation operation, const void *argument) {
  register int r0 __asm("r0") = (int)operation;
  register const void *r1 __asm("r1") = argument;
  __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void semihosting_text(const char *text) { call(WRITE_TEXT, text); }

void semihosting_hex(uint32_t value) {
  char text[11] = "0x";
  for (int i = 0; i < 8; ++i) text[2 + i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15];
  semihosting_text(text);
}

void semihosting_exit(int code) {
  const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
  call(EXIT_EXTENDED, block);
  for (;;) {
  }
}

/* What newlib calls. */

extern char heap_start, heap_end; /* addresses that board.ld gives */

void *_sbrk(ptrdiff_t size);
int _write(int file, const char *text, int length);
int _read(int file, char *text, int length);
int _close(int file);
int _lseek(int file, int offset, int from);
int _fstat(int file, struct stat *about);
int _isatty(int file);
int _getpid(void);
int _kill(int process, int number);
void _exit(int code) __attribute__((noreturn));

void *_sbrk(ptrdiff_t size) {
  static char *end = &heap_start;
  if (size > &heap_end - end) {
    errno = ENOMEM;
    return (void *)-1; /* newlib's word for: no room */
  }
  end += size;
  return end - size;
}

int _write(int file, const char *text, int length) {
  (void)file;
  for (int i = 0; i < length; ++i) call(WRITE_CHARACTER, text + i);
  return length;
}

int _read(int file, char *text, int length) {
  (void)file, (void)text, (void)length;
  return 0;
}

int _close(int file) {
  (void)file;
  return -1;
}

int _lseek(int file, int offset, int from) {
  (void)file, (void)offset, (void)from;
  return 0;
}

int _fstat(int file, struct stat *about) {
  (void)file;
  about->st_mode = S_IFCHR;
  return 0;
}

int _isatty(int file) {
  (void)file;
  return 1;
}

int _getpid(void) { return 1; }

int _kill(int process, int number) {
  (void)process, (void)number;
  errno = EINVAL;
  return -1;
}

void _exit(int code) { semihosting_exit(code); }
