"""Data sets from files that are already on this machine; nothing is downloaded."""

from fixproj._datasets._dataset import Dataset as Dataset, DatasetError as DatasetError
from fixproj._datasets._named import (
    NAMES as NAMES,
    load_dataset as load_dataset,
    where as where,
)
