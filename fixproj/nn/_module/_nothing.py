"""`Nothing`: the place of a leaf that was filtered out."""

import jax


class _Nothing:
    """An empty pytree, so that `jax.tree.map` passes over it."""

    _only = None

    def __new__(cls):
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self):
        return "Nothing"

    def __bool__(self):
        return False

    def __reduce__(self):
        return (_Nothing, ())


jax.tree_util.register_pytree_node(_Nothing, lambda _: ((), None), lambda *_: Nothing)

Nothing = _Nothing()


def is_nothing(x) -> bool:
    """Whether `x` is `Nothing`."""
    return x is Nothing
