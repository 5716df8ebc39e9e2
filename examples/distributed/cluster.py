"""What the programs here share: the group of processes, and data by shards."""

import os
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def join() -> Mesh:
    """Joins the other processes that `launch.py` started, if it did.

    Returns:
        All devices of all processes in a row, the axis "rows".
    """
    coordinator = os.environ.get("FIXPROJ_COORDINATOR")
    if coordinator is not None and not jax.distributed.is_initialized():
        jax.distributed.initialize(
            coordinator,
            int(os.environ["FIXPROJ_PROCESSES"]),
            int(os.environ["FIXPROJ_PROCESS"]),
            # The others learn within this time that one of them is gone.
            heartbeat_timeout_seconds=20,
        )
    return Mesh(jax.devices(), ("rows",))


def by_blocks(
    mesh: Mesh, blocks: int, make: Callable[[int], np.ndarray], like: np.ndarray
) -> jax.Array:
    """An array whose block i is `make(i)`: nobody makes or holds more than its own.

    Args:
        mesh: from `join`; its devices share the blocks evenly.
        blocks: their number, a multiple of the number of devices.
        make: from a number to a block of rows, all of the shape and dtype of `like`.
        like: one block.
    """
    height = like.shape[0]

    def shard(index):
        first, last, _ = index[0].indices(blocks * height)
        out = np.empty((last - first, *like.shape[1:]), like.dtype)
        for i in range(first // height, last // height):
            out[i * height - first :][:height] = make(i)
        return out

    shape = (blocks * height, *like.shape[1:])
    sharding = NamedSharding(mesh, PartitionSpec("rows"))
    return jax.make_array_from_callback(shape, sharding, shard)


def say(*words) -> None:
    """Prints once, not once for every process."""
    if jax.process_index() == 0:
        print(*words, flush=True)
