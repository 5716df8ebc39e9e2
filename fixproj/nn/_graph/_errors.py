"""What is raised for a model that projections cannot train."""


class UnsupportedPrimitiveError(NotImplementedError):
    """A traced model computes something that has no projection rule.

    The message names the primitive, its shapes, and the line of the model's source.
    """
