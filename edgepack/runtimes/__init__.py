"""What runs a model on a device, a file each."""
