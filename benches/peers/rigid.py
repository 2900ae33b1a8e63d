"""The rigid bodies of rigid.bp. In JAX alone: PyTorch needs seconds for a gradient."""
from peer import serve


def rates(w, u, inertia):
    import jax.numpy as jnp

    a, b, c = inertia
    x, y, z = w[..., 0], w[..., 1], w[..., 2]
    about_x = ((b - c) * y * z + u[..., 0]) / a
    about_y = ((c - a) * z * x + u[..., 1]) / b
    about_z = ((a - b) * x * y + u[..., 2]) / c
    return jnp.stack([about_x, about_y, about_z], axis=-1)


def rk4(w, u, inertia, h):
    k1 = rates(w, u, inertia)
    k2 = rates(w + h / 2 * k1, u, inertia)
    k3 = rates(w + h / 2 * k2, u, inertia)
    k4 = rates(w + h * k3, u, inertia)
    return w + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def path(first, torque, inertia):
    import jax

    inertia = abs(inertia) + 1
    return jax.lax.scan(lambda w, u: (rk4(w, u, inertia, 0.01), w), first, torque)[1]


def rollout(inputs, p, compile):
    import jax

    function = jax.jit(path)
    return lambda: {"path": function(inputs["first"], inputs["torque"], inputs["inertia"])}


def fit(inputs, p, compile):
    import jax
    import jax.numpy as jnp

    def loss(first, torque, inertia, measured):
        return jnp.mean((path(first, torque, inertia) - measured) ** 2)

    function = jax.jit(jax.value_and_grad(loss, argnums=(0, 2)))

    def step():
        value, (by_first, by_inertia) = function(*(inputs[name] for name in ("first", "torque", "inertia", "measured")))
        return {"value": value, "by_first": by_first, "by_inertia": by_inertia}

    return step


serve({"rollout": {"jax": rollout}, "fit": {"jax": fit}})
