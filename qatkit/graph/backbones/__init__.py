"""The backbones: one module for each value of `model_config.arch`."""
