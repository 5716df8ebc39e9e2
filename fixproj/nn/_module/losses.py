"""Losses: functions of predictions and targets."""

from fixproj.nn._module._losses import (
    cosine_similarity as cosine_similarity,
    cross_entropy as cross_entropy,
    huber as huber,
    mean_absolute_error as mean_absolute_error,
    mean_absolute_percentage_error as mean_absolute_percentage_error,
    mean_squared_error as mean_squared_error,
    mean_squared_logarithmic_error as mean_squared_logarithmic_error,
)
