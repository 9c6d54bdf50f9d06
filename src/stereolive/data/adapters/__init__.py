"""One module a data set: the original files become a manifest (and PNG files, where the source is HDF5)."""
