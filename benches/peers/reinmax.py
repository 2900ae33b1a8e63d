"""The layer of reinmax.bp, backward as in the function that the authors publish. The uniform numbers behind the noise are given, so that
all draw the same."""
from peer import serve

NOISE = "d.noise.draw"
SMALLEST = 2.98023223876953125e-08


def slope(soft, d, g):
    """The gradient of the logits, by what arrays of both frameworks can."""

    def pulled(weights, g):
        product = g * weights
        return product - weights * product.sum(-1)[..., None]

    return pulled(0.5 * (soft + d), 2 * g) + pulled(soft, -0.5 * g)


def torch_layer(inputs, p, compile):
    import torch
    import torch.nn.functional as F

    class ReinMax(torch.autograd.Function):
        @staticmethod
        def forward(context, logits, uniform):
            noise = -torch.log(-torch.log(uniform.clamp_min(SMALLEST)))
            d = F.one_hot((logits + noise).argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
            context.save_for_backward(logits, d)
            return d

        @staticmethod
        def backward(context, g):
            logits, d = context.saved_tensors
            return slope(logits.softmax(dim=-1), d, g), None

    logits = inputs["logits"].requires_grad_(True)
    sample = torch.compile(lambda logits, uniform: ReinMax.apply(logits, uniform)) if compile else ReinMax.apply

    def step():
        d = sample(logits, inputs[NOISE])
        return {"value": d, "gradient": torch.autograd.grad((d * inputs["g"]).sum(), logits)[0]}

    return step


def jax_layer(inputs, p, compile):
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def sample(logits, uniform):
        noise = -jnp.log(-jnp.log(jnp.maximum(uniform, SMALLEST)))
        return jax.nn.one_hot(jnp.argmax(logits + noise, axis=-1), logits.shape[-1], dtype=logits.dtype)

    def forward(logits, uniform):
        d = sample(logits, uniform)
        return d, (logits, d)

    def backward(kept, g):
        logits, d = kept
        return slope(jax.nn.softmax(logits), d, g), None

    sample.defvjp(forward, backward)

    def loss(logits, uniform, g):
        d = sample(logits, uniform)
        return (d * g).sum(), d

    gradient = jax.jit(jax.grad(loss, has_aux=True))

    def step():
        gradient_of_logits, d = gradient(inputs["logits"], inputs[NOISE], inputs["g"])
        return {"value": d, "gradient": gradient_of_logits}

    return step


serve({"layer": {"torch": torch_layer, "jax": jax_layer}})
