"""The five-point Laplacian as a sparse matrix, for solutions by direct methods."""

import numpy as np


def negative_laplacian(side: int):
    """-(u_N + u_S + u_E + u_W - 4u) on a `side` x `side` grid, zero outside; CSC."""
    from scipy.sparse import coo_array

    index = np.arange(side**2).reshape(side, side)
    pairs = [(index[1:], index[:-1]), (index[:, 1:], index[:, :-1])]
    rows = np.concatenate([index.ravel()] + [a.ravel() for p in pairs for a in p])
    columns = [index.ravel()] + [a.ravel() for p in pairs for a in p[::-1]]
    values = np.where(np.arange(rows.size) < side**2, 4.0, -1.0)
    return coo_array((values, (rows, np.concatenate(columns)))).tocsc()


def sparse_solve(matrix, right: np.ndarray) -> np.ndarray:
    """The solution of matrix @ x = right by sparse LU."""
    from scipy.sparse.linalg import splu

    return splu(matrix).solve(right)
