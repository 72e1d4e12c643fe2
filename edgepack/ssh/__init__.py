"""Speaks SSH: addresses, keys, host keys and connections, on paramiko."""
