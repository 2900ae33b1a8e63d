"""The mixture of experts of moe.bp: tokens sorted by expert, one product an expert."""
from peer import jax_sgd, jax_step, print_line, serve, torch_sgd, torch_step

NAMES = ["moe.router", "moe.w1", "moe.b1", "moe.w2", "moe.b2"]


def torch_loss(inputs, p):
    import torch
    import torch.nn.functional as F

    x = inputs["x"] + p["shift"]
    router, w1, b1, w2, b2 = (p[name] for name in NAMES)
    weight, expert = torch.softmax(F.linear(x, router), dim=-1).max(dim=-1)
    slots = torch.argsort(expert, stable=True)
    counts = torch.bincount(expert, minlength=len(router)).tolist()
    runs = x.index_select(0, slots).split(counts)
    # Views of one tensor each would give a whole gradient for every expert; `unbind` gives one for all.
    experts = zip(runs, w1.unbind(0), b1.unbind(0), w2.unbind(0), b2.unbind(0))
    outputs = [F.linear(F.relu(F.linear(rows, a, c)), d, e) for rows, a, c, d, e in experts]
    back = torch.empty_like(slots)
    back[slots] = torch.arange(len(slots))
    return (torch.cat(outputs).index_select(0, back) * weight[:, None] * inputs["cotangent"]).sum()


def torch_eager(inputs, p, compile):
    if compile:
        # The sizes of the runs are data: it compiles for minutes, and again for other counts.
        print_line({"unknown": True})
        raise SystemExit
    return torch_step(torch_loss, torch_sgd(1e-6))(inputs, p, False)


def jax_loss(inputs, p):
    import jax
    import jax.numpy as jnp

    x = inputs["x"] + p["shift"]
    router, w1, b1, w2, b2 = (p[name] for name in NAMES)
    gates = jax.nn.softmax(x @ router.T)
    expert = jnp.argmax(gates, axis=-1)
    slots = jnp.argsort(expert, stable=True)
    counts = jnp.bincount(expert, length=len(router)).astype(jnp.int32)
    owner = expert[slots]
    inner = jax.nn.relu(jax.lax.ragged_dot(x[slots], w1.swapaxes(1, 2), counts) + b1[owner])
    outer = jax.lax.ragged_dot(inner, w2.swapaxes(1, 2), counts) + b2[owner]
    return jnp.sum(outer[jnp.argsort(slots)] * jnp.max(gates, axis=-1)[:, None] * inputs["cotangent"])


serve({"sgd": {"torch": torch_eager, "jax": jax_step(jax_loss, jax_sgd(1e-6))}})
