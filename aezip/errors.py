"""The errors a person can meet: each message is one complete line, and the command line prints
nothing else. Anything that is not an `AezipError` is a defect of aezip."""


class AezipError(Exception):
    """Base of every error that aezip raises on purpose."""


class ImageError(AezipError):
    """An image file cannot be read, written or represented."""


class ModelError(AezipError):
    """A model or decoder is missing, damaged, of another version, or does not fit the images."""


class ArchiveError(AezipError):
    """An archive (CSV) is missing, damaged, not an archive at all, or has no such row."""


class LimitError(ArchiveError):
    """What was asked for is beyond a limit on sizes; nothing says that it is damaged."""
