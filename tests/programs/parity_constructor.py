"""Loads a library that allocates in its constructor, and calls it."""

import ctypes
import os

library = ctypes.CDLL(os.environ["PARITY_LIBRARY"])
library.allocate()
