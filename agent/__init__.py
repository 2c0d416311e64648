"""The daemon on client servers: samples, judges its own signals, and reports findings. Python 3.9 or later."""
