"""Reference values of PureSVD by numpy's exact decompositions.

    python pure_svd.py      # needs numpy; writes pure_svd.json beside itself
"""

import json
import pathlib

import numpy as np

USERS, ITEMS, K = 31, 23, 4


def main():
    draws = np.random.default_rng(12)
    # Some users and items have much, some little; the last of both have nothing.
    x = (draws.random((USERS, ITEMS)) < np.outer(draws.random(USERS), draws.random(ITEMS)) * 1.5).astype(float)
    x[-1], x[:, -1] = 0, 0
    _, singular, rows = np.linalg.svd(x)
    q = rows[:K].T
    assert singular[K] < 0.97 * singular[K - 1], "the last vector is not well told apart from the next"
    sizes = np.maximum(x.sum(axis=1, keepdims=True), 1)
    together = x.T @ x
    np.fill_diagonal(together, 0)
    sums = np.sqrt(np.maximum(together.sum(axis=1), 1e-300))
    normalised = np.where(together > 0, together / np.outer(sums, sums), 0)
    u, s, _ = np.linalg.svd(normalised)
    assert s[K] < 0.97 * s[K - 1]
    found = {
        "pairs": [[int(user), int(item)] for user, item in np.argwhere(x > 0)],
        "scores": (x @ q @ q.T / sizes).tolist(),
        "projection": (q @ q.T).tolist(),
        "co_occurrences": (u[:, :K] * s[:K] @ u[:, :K].T).tolist(),
    }
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
