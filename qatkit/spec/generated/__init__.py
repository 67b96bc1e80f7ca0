"""Written by `python protos/generate.py` from /protos; do not edit."""
