"""Annotation files of any tool -> codings. `read_folder` tries one reader after the other; each knows one format."""

from sheep.annotations.readers.folder import FileReport, Folder, read_files

__all__ = ["FileReport", "Folder", "read_files"]
