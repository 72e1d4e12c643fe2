/* What a Cortex-M does from reset to main(): memory, the floating-point unit, constructors. */
#include <stdint.h>
#include <stdlib.h>

#include "semihosting.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88u) /* coprocessor access: the FPU and Helium */
#define CFSR (*(volatile uint32_t *)0xE000ED28u)  /* why a fault happened */
#define FAULT_CODE 99

typedef void (*Function)(void);

/* Addresses that board.ld gives. */
extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;
extern Function init_array_start[], init_array_end[];

extern int main(void);
extern void _fini(void);

void _fini(void) {} /* newlib's exit() calls it */

/* C++ hands its address over where it registers destructors. */
extern void *__dso_handle;
void *__dso_handle = &__dso_handle;

static void reset(void) {
  const uint32_t *from = &data_load;
  for (uint32_t *to = &data_start; to < &data_end; ++to) *to = *from++;
  for (uint32_t *to = &bss_start; to < &bss_end; ++to) *to = 0;
  CPACR |= 0xFu << 20;
  __asm volatile("dsb\n isb");
  for (Function *constructor = init_array_start; constructor < init_array_end; ++constructor)
    (*constructor)();
  exit(main());
}

static void fault(void) {
  semihosting_text("fault: CFSR ");
  semihosting_hex(CFSR);
  semihosting_text("\n");
  semihosting_exit(FAULT_CODE);
}

/* The first words of flash: the stack's end and what runs on reset and on each exception. */
struct Vectors {
  uint32_t *stack;
  Function handlers[15];
};

extern const struct Vectors vectors;
__attribute__((section(".vectors"), used)) const struct Vectors vectors = {
    &stack_top,
    {reset, fault, fault, fault, fault, fault, fault, 0, 0, 0, fault, fault, 0, fault, fault}};
