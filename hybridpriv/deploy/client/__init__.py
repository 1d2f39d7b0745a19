"""What runs on the device: from a photo or a window to a frame, and an answer.

Needs NumPy, Pillow, ONNX Runtime and OpenDP.  A bundle carries a copy of it.
"""
