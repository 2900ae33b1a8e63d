"""The mixture of experts of moe.bp: tokens sorted by expert, one product an expert."""
from peer import serve

NAMES = ["router", "w1", "b1", "w2", "b2"]


def torch_forward(x, p):
    import torch
    import torch.nn.functional as F

    router, w1, b1, w2, b2 = (p["moe." + name] for name in NAMES)
    weight, expert = torch.softmax(F.linear(x, router), dim=-1).max(dim=-1)
    slots = torch.argsort(expert, stable=True)
    counts = torch.bincount(expert, minlength=len(router)).tolist()
    runs = x.index_select(0, slots).split(counts)
    # Views of one tensor each would give a whole gradient for every expert; `unbind` gives one for all.
    weights = zip(runs, w1.unbind(0), b1.unbind(0), w2.unbind(0), b2.unbind(0))
    outputs = [F.linear(F.relu(F.linear(rows, a, c)), d, e) for rows, a, c, d, e in weights]
    back = torch.empty_like(slots)
    back[slots] = torch.arange(len(slots))
    return torch.cat(outputs).index_select(0, back) * weight[:, None]


def torch_mixture(inputs, p, compile):
    import torch

    x = inputs["x"].requires_grad_(True)
    forward = torch.compile(torch_forward, dynamic=True) if compile else torch_forward

    def step():
        y = forward(x, p)
        gradients = torch.autograd.grad((y * inputs["seed"]).sum(), [x, *(p["moe." + name] for name in NAMES)])
        return {"value": y, **dict(zip(["gradient", *NAMES], gradients))}

    return step


def jax_mixture(inputs, p, compile):
    import jax
    import jax.numpy as jnp

    def forward(x, p):
        router, w1, b1, w2, b2 = (p["moe." + name] for name in NAMES)
        gates = jax.nn.softmax(x @ router.T)
        expert = jnp.argmax(gates, axis=-1)
        weight = jnp.max(gates, axis=-1)
        slots = jnp.argsort(expert, stable=True)
        counts = jnp.bincount(expert, length=len(router)).astype(jnp.int32)
        owner = expert[slots]
        inner = jax.nn.relu(jax.lax.ragged_dot(x[slots], w1.swapaxes(1, 2), counts) + b1[owner])
        outer = jax.lax.ragged_dot(inner, w2.swapaxes(1, 2), counts) + b2[owner]
        return outer[jnp.argsort(slots)] * weight[:, None]

    def loss(x, p):
        y = forward(x, p)
        return jnp.sum(y * inputs["seed"]), y

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def step():
        (_, y), (x, weights) = gradient(inputs["x"], p)
        return {"value": y, "gradient": x, **{name: weights["moe." + name] for name in NAMES}}

    return step


serve({"mixture": {"torch": torch_mixture, "jax": jax_mixture}})
