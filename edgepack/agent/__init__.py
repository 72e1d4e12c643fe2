"""What runs on a device: standard library, numpy and a TFLite runtime only, Python 3.7 up."""
