"""Compression of weights: bytes of a tensor in every format, methods, and networks made small with them."""
