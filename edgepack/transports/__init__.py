"""The ways to reach a device, a file each."""
