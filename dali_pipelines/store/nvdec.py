"""Facts about NVIDIA's hardware decoder, NVDEC, that decide what it can be given."""

NVDEC_LEAST = {"h264": (48, 16), "hevc": (160, 160), "vp8": (128, 128), "vp9": (128, 128)}
"""Codec -> the least width and height in pixels. HEVC's is 144; sides of stored videos are multiples of 16."""
