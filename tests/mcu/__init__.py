"""Emulated microcontrollers: firmware is compiled with a real compiler and booted on QEMU."""
