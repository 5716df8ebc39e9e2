"""The projection rules that come with the library; importing them registers them."""

from fixproj.nn._graph._rules import (
    activation as activation,
    contraction as contraction,
    convolution as convolution,
    elementwise as elementwise,
    reduction as reduction,
    softmax as softmax,
    steps as steps,
)
