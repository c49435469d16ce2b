"""Reference values of the autoencoders: the papers' equations in float64, one row at a time, gradients by central differences.

    python models.py        # needs numpy; writes models.json beside itself

AutoRec: Sedhain et al., WWW 2015 Companion. CDAE: Wu et al., WSDM 2016. Mult-DAE and Mult-VAE: arXiv:1802.05814.
Nothing is corrupted here, and z of Mult-VAE is its mean: where that differs, `models/noise.rs` has the values.
"""

import json
import pathlib

import numpy as np

STEP = 1e-6
NEW = None

# The last user and the last item have nothing.
USERS, ITEMS = 5, 9
ROWS = {0: [0, 2, 3], 1: [1, 2, 5, 7], 2: [0, 6], 3: [3, 4, 5, 6, 7], 4: []}
BATCH = [2, 0, 3]
# Two for each item of each user of the batch; one twice for the same item, one of another user's items.
NEGATIVES = [1, 4, 4, 4] + [7, 8, 1, 1, 5, 6] + [0, 8, 1, 2, 2, 2, 0, 1, 8, 0]
# Known users with their rows, one without a row, new ones; histories in any order, an item twice.
ASKED = [(0, [0, 2, 3]), (3, [3, 4, 5, 6, 7]), (4, [4, 1]), (NEW, [1, 4]), (NEW, [8, 2, 8]), (NEW, [])]

# Ratings; the last user and the last item have none.
RATING_USERS, RATING_ITEMS = 5, 7
RATINGS = {
    (0, 0): 5.0, (0, 2): 3.0, (0, 3): 1.0,
    (1, 1): 4.5, (1, 2): 2.0, (1, 4): 3.5, (1, 5): 1.5,
    (2, 0): 4.0, (2, 5): 2.5,
    (3, 0): 3.0, (3, 1): 5.0, (3, 3): 2.0, (3, 4): 4.0,
}  # fmt: skip
LOW, HIGH = 1.0, 5.0
RATING_ASKED = [(1, [1, 2, 4, 5], [4.5, 2.0, 3.5, 1.5]), (3, [0, 1, 3, 4], [3.0, 5.0, 2.0, 4.0])]
NEW_RATINGS = [(4, [2, 0], [4.0, 1.0]), (NEW, [0, 1, 3, 5, 4], [5.0, 2.0, 1.0, 4.5, 3.0]), (NEW, [5], [2.5])]

ACTIVATIONS = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
sigmoid = ACTIVATIONS["sigmoid"]


def row_of_ones(items):
    x = np.zeros(ITEMS)
    x[items] = 1
    return x


def unit_row(items):
    x = row_of_ones(items)
    return x / max(np.linalg.norm(x), 1)


def layers(p, name, h, activation):
    """Dense layers `name`1, `name`2, … as far as there are any."""
    at = 1
    while f"{name}{at}_weights" in p:
        h = activation(p[f"{name}{at}_weights"] @ h + p[f"{name}{at}_bias"])
        at += 1
    return h


def squares(p, touched):
    """The sum of all squared weights, of `touched` parameters the given rows only."""
    total = 0.0
    for name, value in p.items():
        if name in touched:
            total += sum(value[row] @ value[row] for row in set(touched[name]))
        elif "bias" not in name:
            total += np.sum(value**2)
    return total


def loss_of_row(r, x, loss):
    """The loss of all outputs of one user."""
    if loss["name"] == "squared-error":
        return np.sum((r - x) ** 2)
    if loss["name"] == "cross-entropy":
        return -np.sum(x * np.log(np.exp(r) / np.sum(np.exp(r))))
    return -np.sum(loss["positive_weight"] * x * np.log(sigmoid(r)) + (1 - x) * np.log(1 - sigmoid(r)))


class Rows:
    """What models of users' rows share."""

    data = {"users": USERS, "items": ITEMS, "rows": [ROWS[u] for u in range(USERS)]}

    def __init__(self, config):
        self.config = config

    def batch(self):
        return {"ids": BATCH}

    def asked(self):
        return {"ids": [u for u, _ in ASKED], "histories": [items for _, items in ASKED]}

    def scores(self, p):
        return [self.score(p, user, items).tolist() for user, items in ASKED]

    def touched(self):
        """Rows of tables that the batch touches."""
        return {"input_weights": sum((ROWS[u] for u in BATCH), [])}

    def loss(self, p):
        each = [self.loss_of(p, u) for u in BATCH]
        return np.mean(each) + self.config["l2"] / 2 * squares(p, self.touched())


class Autoencoder(Rows):
    """h₁ = g(W₁x + b₁), hₗ = g(Wₗhₗ₋₁ + bₗ), r = Vh + c."""

    def shapes(self):
        sizes = self.config["hidden_sizes"]
        names = {"input_weights": (ITEMS, sizes[0]), "input_bias": (sizes[0],)}
        for at, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), 1):
            names |= {f"hidden{at}_weights": (outputs, inputs), f"hidden{at}_bias": (outputs,)}
        return names | {"output_weights": (ITEMS, sizes[-1]), "output_bias": (ITEMS,)}

    def network(self, p, x, g):
        h = layers(p, "hidden", g(x @ p["input_weights"] + p["input_bias"]), g)
        return p["output_weights"] @ h + p["output_bias"]

    def score(self, p, user, items):
        return self.network(p, row_of_ones(items), ACTIVATIONS[self.config["activation"]])

    def loss_of(self, p, user):
        return loss_of_row(self.score(p, user, ROWS[user]), row_of_ones(ROWS[user]), self.config["loss"])


class MultDae(Autoencoder):
    """The row has length 1, hidden layers are tanh, the likelihood is multinomial (eq. 2)."""

    def score(self, p, user, items):
        return self.network(p, unit_row(items), np.tanh)

    def loss_of(self, p, user):
        return loss_of_row(self.score(p, user, ROWS[user]), row_of_ones(ROWS[user]), {"name": "cross-entropy"})


class MultVae(Rows):
    """z = μ(x); −ln p(x|z) + β·KL, β = min(cap, step / steps) (eq. 6–7)."""

    step = 30

    def shapes(self):
        config, latent = self.config, self.config["latent_size"]
        up = [ITEMS] + config["hidden_sizes"] + [2 * latent]
        down = [latent] + config["hidden_sizes"][::-1] + [ITEMS]
        names = {"input_weights": (ITEMS, up[1]), "input_bias": (up[1],)}
        for name, sizes in (("encoder", up[1:]), ("decoder", down)):
            for at, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]), 1):
                names |= {f"{name}{at}_weights": (outputs, inputs), f"{name}{at}_bias": (outputs,)}
        return names

    def prepare(self, p):
        """No noise: ln σ² is −60, whatever the input."""
        latent, last = self.config["latent_size"], len(self.config["hidden_sizes"])
        if last:
            p[f"encoder{last}_weights"][latent:] = 0
            p[f"encoder{last}_bias"][latent:] = -60
        else:
            p["input_weights"][:, latent:] = 0
            p["input_bias"][latent:] = -60

    def encode(self, p, items):
        """Layer after layer, a tanh between any two."""
        h, at = unit_row(items) @ p["input_weights"] + p["input_bias"], 1
        while f"encoder{at}_weights" in p:
            h = p[f"encoder{at}_weights"] @ np.tanh(h) + p[f"encoder{at}_bias"]
            at += 1
        return np.split(h, 2)

    def decode(self, p, z):
        depth = len(self.config["hidden_sizes"]) + 1
        for at in range(1, depth):
            z = np.tanh(p[f"decoder{at}_weights"] @ z + p[f"decoder{at}_bias"])
        return p[f"decoder{depth}_weights"] @ z + p[f"decoder{depth}_bias"]

    def score(self, p, user, items):
        return self.decode(p, self.encode(p, items)[0])

    def loss_of(self, p, user):
        mean, log_variance = self.encode(p, ROWS[user])
        kl = np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance) / 2
        beta = min(self.config["anneal_cap"], self.step / self.config["anneal_steps"])
        return loss_of_row(self.decode(p, mean), row_of_ones(ROWS[user]), {"name": "cross-entropy"}) + beta * kl


class Cdae(Rows):
    """z_u = h(Wᵀx_u + V_u + b), r_ui = W′_i·z_u + b′_i (eq. 4–5)."""

    def __init__(self, config, each):
        super().__init__(config)
        self.each = each

    def batch(self):
        return {"ids": BATCH, "negatives": NEGATIVES if self.each else []}

    def shapes(self):
        k = self.config["embedding_size"]
        node = {"user_node": (USERS, k)} if self.config["user_node"] else {}
        return {"input_weights": (ITEMS, k), "input_bias": (k,)} | node | {"output_weights": (ITEMS, k), "output_bias": (ITEMS, 1)}

    def touched(self):
        outputs = super().touched()["input_weights"] + NEGATIVES if self.each else range(ITEMS)
        return super().touched() | {"user_node": BATCH, "output_weights": outputs}

    def score(self, p, user, items):
        sums = row_of_ones(items) @ p["input_weights"] + p["input_bias"]
        if self.config["user_node"] and user is not NEW and ROWS[user]:
            sums = sums + p["user_node"][user]
        return p["output_weights"] @ ACTIVATIONS[self.config["activation"]](sums) + p["output_bias"][:, 0]

    def loss_of(self, p, user):
        r, loss = self.score(p, user, ROWS[user]), self.config["loss"]
        if not self.each:
            return loss_of_row(r, row_of_ones(ROWS[user]), loss)
        start = self.each * sum(len(ROWS[u]) for u in BATCH[: BATCH.index(user)])
        total = 0.0
        for at, item in enumerate(ROWS[user]):
            others = NEGATIVES[start + at * self.each :][: self.each]
            if loss["name"] == "bpr":
                total += sum(-np.log(sigmoid(r[item] - r[j])) for j in others)
            else:
                # One output after the other.
                for j, label in [(item, 1.0)] + [(j, 0.0) for j in others]:
                    total += loss_of_row(r[[j]], np.array([label]), loss)
        return total


class AutoRec:
    """r̂ = f(W·g(Vr + μ) + b) for the rows of users or of items (eq. 1–3)."""

    data = {
        "users": RATING_USERS,
        "items": RATING_ITEMS,
        "ratings": [[u, i, value] for (u, i), value in RATINGS.items()],
    }

    def __init__(self, config, by_item, ids):
        self.config, self.by_item, self.ids = config, by_item, ids
        self.columns = RATING_USERS if by_item else RATING_ITEMS
        self.rows = {}
        for (user, item), value in RATINGS.items():
            row, column = (item, user) if by_item else (user, item)
            self.rows.setdefault(row, {})[column] = value
        self.g = ACTIVATIONS[config["activation"]]

    def batch(self):
        return {"ids": self.ids}

    shapes = lambda self: {
        name: tuple(self.columns if size == ITEMS else size for size in shape) for name, shape in Autoencoder.shapes(self).items()
    }

    def prepare(self, p):
        """Predictions about the middle of the range, some outside it."""
        if self.config["output_activation"] == "identity":
            p["output_bias"] = 3 + 4 * p["output_bias"]

    def encode(self, p, row):
        h = p["input_bias"].copy()
        for column, value in row.items():
            h += value * p["input_weights"][column]
        return layers(p, "hidden", self.g(h), self.g)

    def f(self, x):
        return LOW + (HIGH - LOW) * sigmoid(x) if self.config["output_activation"] == "sigmoid" else x

    def loss(self, p):
        """Squared errors of the batch, and each weight row's part in λ/2(‖W‖² + ‖V‖²) by its ratings here among all, a mean rating's."""
        errors, here = 0.0, []
        for row in self.ids:
            h = self.encode(p, self.rows[row])
            for column, value in self.rows[row].items():
                errors += (value - self.f(p["output_weights"][column] @ h + p["output_bias"][column])) ** 2
                here.append(column)
        everywhere = [column for row in self.rows.values() for column in row]
        norm = 0.0
        for name, value in p.items():
            if name in ("input_weights", "output_weights"):
                norm += sum(here.count(c) / everywhere.count(c) * (value[c] @ value[c]) for c in set(here))
            elif "bias" not in name:
                norm += len(here) / len(everywhere) * np.sum(value**2)
        return (errors + self.config["l2"] / 2 * norm) / len(here)

    def asked(self):
        rows = RATING_ASKED + NEW_RATINGS
        return {"ids": [r[0] for r in rows], "histories": [r[1] for r in rows], "values": [r[2] for r in rows]}

    def scores(self, p):
        """Before f, which rises and so changes no ranking."""
        if not self.by_item:
            return [
                (p["output_weights"] @ self.encode(p, dict(zip(items, values))) + p["output_bias"]).tolist()
                for _, items, values in RATING_ASKED + NEW_RATINGS
            ]
        h = np.array([self.encode(p, self.rows.get(item, {})) for item in range(RATING_ITEMS)])
        known = [(h @ p["output_weights"][user] + p["output_bias"][user]).tolist() for user, _, _ in RATING_ASKED]
        return known + [self.fold_in(h, items, np.array(values)).tolist() for _, items, values in NEW_RATINGS]

    def fold_in(self, h, items, values):
        """min over w, c of Σ (f⁻¹(r) − w·h_i − c)² + max(λ/2, 10⁻³)‖w‖², as least squares with more rows."""
        if self.config["output_activation"] == "sigmoid":
            share = np.clip((values - LOW) / (HIGH - LOW), 0.01, 0.99)
            values = np.log(share / (1 - share))
        k = h.shape[1]
        ridge = np.sqrt(max(self.config["l2"] / 2, 1e-3)) * np.eye(k)
        left = np.block([[h[items], np.ones((len(items), 1))], [ridge, np.zeros((k, 1))]])
        solved = np.linalg.lstsq(left, np.concatenate([values, np.zeros(k)]), rcond=None)[0]
        return h @ solved[:k] + solved[k]

    def predictions(self, p):
        """Of all users and items, in the range of the ratings; its middle for what has no ratings."""
        out = np.full((RATING_USERS, RATING_ITEMS), (LOW + HIGH) / 2)
        for row in self.rows:
            h = self.encode(p, self.rows[row])
            for column in {column for r in self.rows.values() for column in r}:
                at = (column, row) if self.by_item else (row, column)
                out[at] = np.clip(self.f(p["output_weights"][column] @ h + p["output_bias"][column]), LOW, HIGH)
        return out.tolist()


def gradient(p, model):
    slopes = {}
    for name, value in p.items():
        slope = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            kept = value[at]
            value[at] = kept + STEP
            above = model.loss(p)
            value[at] = kept - STEP
            slope[at] = (above - model.loss(p)) / (2 * STEP)
            value[at] = kept
        slopes[name] = slope
    return slopes


def case(seed, name, model):
    draws = np.random.default_rng(seed)
    p = {name: draws.normal(0, 0.7, shape) for name, shape in model.shapes().items()}
    if hasattr(model, "prepare"):
        model.prepare(p)
    # As f32, so that both sides start from the same numbers.
    p = {name: value.astype(np.float32).astype(np.float64) for name, value in p.items()}
    flat = lambda arrays: {name: value.ravel().tolist() for name, value in arrays.items()}
    return {
        "model": name,
        "config": model.config,
        "data": model.data,
        "step": getattr(model, "step", 0),
        "batch": model.batch(),
        "parameters": flat(p),
        "loss": model.loss(p),
        "gradients": flat(gradient(p, model)),
        "asked": model.asked(),
        "scores": model.scores(p),
        "predictions": model.predictions(p) if isinstance(model, AutoRec) else None,
    }


def wanted():
    bce = lambda weight: {"name": "weighted-bce", "positive_weight": weight}
    squared, softmax, bpr = {"name": "squared-error"}, {"name": "cross-entropy"}, {"name": "bpr"}
    for sizes, activation, loss, l2 in [
        ([4], "relu", bce(1.0), 0.0),
        ([5, 3], "sigmoid", bce(2.5), 0.2),
        ([4], "tanh", squared, 0.1),
        ([4], "identity", softmax, 0.05),
    ]:
        yield "autoencoder", Autoencoder({"hidden_sizes": sizes, "activation": activation, "loss": loss, "l2": l2})
    config = {"hidden_sizes": [4, 5, 3], "activation": "tanh", "loss": bce(1.0), "l2": 0.3}
    yield "denoising-autoencoder", Autoencoder(config | {"corruption": 0.0})
    for sizes, l2 in [([4], 0.1), ([5, 3], 0.0)]:
        yield "mult-dae", MultDae({"hidden_sizes": sizes, "dropout": 0.0, "l2": l2})
    for sizes, steps, l2 in [([6], 50, 0.0), ([], 200, 0.1), ([6, 5], 1, 0.02)]:
        config = {"hidden_sizes": sizes, "latent_size": 3, "dropout": 0.0, "anneal_cap": 0.8, "anneal_steps": steps, "l2": l2}
        yield "mult-vae", MultVae(config)
    for by_item, ids, sizes, activation, output, l2 in [
        (True, [0, 1, 2, 3, 4, 5], [4], "sigmoid", "identity", 0.0),
        (True, [5, 0, 3], [3], "sigmoid", "sigmoid", 0.6),
        (True, [4, 1], [5, 3, 4], "sigmoid", "identity", 2.0),
        (False, [0, 1, 2, 3], [4], "sigmoid", "sigmoid", 2.0),
        (False, [3, 0], [4], "sigmoid", "identity", 0.6),
        (False, [2, 1], [5, 3, 4], "tanh", "identity", 0.9),
    ]:
        config = {"hidden_sizes": sizes, "activation": activation, "output_activation": output, "l2": l2}
        yield "i-autorec" if by_item else "u-autorec", AutoRec(config, by_item, ids)
    for activation, node, loss, l2, each in [
        ("sigmoid", True, bce(1.0), 0.2, 2),
        ("tanh", False, bce(2.5), 0.0, 2),
        ("identity", False, squared, 0.1, 2),
        ("tanh", True, bpr, 0.1, 2),
        ("relu", True, bce(2.5), 0.3, 0),
        ("sigmoid", False, squared, 0.15, 0),
    ]:
        config = {"embedding_size": 4, "corruption": 0.0, "activation": activation, "user_node": node, "loss": loss, "l2": l2}
        yield "cdae", Cdae(config, each)


def main():
    cases = [case(seed, *what) for seed, what in enumerate(wanted())]
    text = json.dumps(cases, sort_keys=True, separators=(",", ":"))
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()
