"""Models of other frameworks: judged, and made .tflite files in processes of their own."""
