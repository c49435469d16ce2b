"""Makes tiny.hdf5, a file in ann-benchmarks' layout: python tiny.py. Needs h5py and numpy."""

import h5py
import numpy as np

train = np.arange(24, dtype="f8").reshape(8, 3)
test = np.array([[0, 1, 2], [21, 22, 24]], dtype="f4")
distances = ((test[:, None] - train[None]) ** 2).sum(-1) ** 0.5
order = np.argsort(distances, 1)[:, :2]
with h5py.File("tiny.hdf5", "w") as file:
    file.attrs["distance"] = "euclidean"
    file.create_dataset("train", data=train, chunks=(5, 3), compression="gzip")
    file["test"] = test
    file["neighbors"] = order.astype("i4")
    file["distances"] = np.take_along_axis(distances, order, 1)
