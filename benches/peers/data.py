"""Writes mlp.npz and transformer.npz, random data for the two programs beside it: python3 data.py"""
import numpy as np

random = np.random.default_rng(0)
np.savez("mlp.npz", x=random.normal(size=(1280, 784)).astype("f4"), label=random.integers(0, 10, 1280).astype("i4"))
x = random.normal(size=(96, 65, 192)).astype("f4")
np.savez("transformer.npz", x=x, label=random.integers(0, 10, (96, 65)).astype("i4"))
