"""qatkit: the TAO DetectNet_v2 workflow as an open command-line toolkit."""

__version__ = "0.1.0"
