"""What lies on disk: fitted models and decoders (HDF5), archives (CSV).

The only part of aezip that knows file formats. It knows bytes and arrays, nothing of networks,
so that a format can be read, checked and documented without anything else of aezip.
"""
