"""Makes the golden files of this folder with PyTorch in double precision: python3 make.py

Each NAME.json holds the inputs, the parameters and the outputs (values and gradients) of NAME.bp.
"""
import json
import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def tensor(value):
    value = torch.as_tensor(value).detach()
    kind = {torch.float64: "float64", torch.int64: "int32"}[value.dtype]
    return {"shape": list(value.shape), "dtype": kind, "data": value.tolist()}


def write(name, inputs, params, outputs):
    record = {
        "inputs": {key: tensor(value) for key, value in inputs.items()},
        "params": {key: tensor(value) for key, value in params.items()},
        "outputs": {key: tensor(value) for key, value in outputs.items()},
    }
    with open(f"{name}.json", "w") as out:
        json.dump(record, out)
        out.write("\n")


def with_gradients(loss, values, wanted):
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    return values | {"loss": loss} | dict(zip(wanted.keys(), gradients))


def mlp():
    x = torch.randn(6, 13, requires_grad=True)
    label = torch.tensor([0, 4, 2, 2, 1, 3])
    first, second, third = torch.nn.Linear(13, 17), torch.nn.Linear(17, 11), torch.nn.Linear(11, 5)
    logits = third(F.gelu(second(F.relu(first(x)))))
    loss = F.cross_entropy(logits, label)
    params = {}
    wanted = {"dx": x}
    for name, layer in [("first", first), ("second", second), ("logits", third)]:
        for kind, value in layer.named_parameters():
            params[f"{name}.{kind}"] = value
            wanted[f"d{name}_{kind}"] = value
    write("mlp", {"x": x, "label": label}, params, with_gradients(loss, {"logits": logits}, wanted))


def convnet():
    x = torch.randn(3, 2, 9, 11, requires_grad=True)
    label = torch.tensor([2, 0, 1])
    first, second = torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Conv2d(3, 4, 2, stride=2, padding=1)
    pooled = F.max_pool2d(F.silu(first(x)), 2)
    small = F.avg_pool2d(F.silu(second(pooled)), 2, 1)
    head = torch.nn.Linear(small[0].numel(), 3)
    logits = head(small.flatten(1))
    loss = F.cross_entropy(logits, label)
    params = {f"{n}.{k}": v for n, l in [("first", first), ("second", second), ("logits", head)] for k, v in l.named_parameters()}
    wanted = {"dx": x, "dfirst_weight": first.weight, "dfirst_bias": first.bias, "dsecond_weight": second.weight,
              "dsecond_bias": second.bias, "dlogits_weight": head.weight}
    write("convnet", {"x": x, "label": label}, params, with_gradients(loss, {"logits": logits}, wanted))


def attention():
    x, target = torch.randn(2, 7, 12, requires_grad=True), torch.randn(2, 7, 12)
    norm1, norm2 = torch.nn.LayerNorm(12), torch.nn.LayerNorm(12)
    attn = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    fc, proj = torch.nn.Linear(12, 20), torch.nn.Linear(20, 12)
    for value in [norm1.weight, norm1.bias, norm2.weight, norm2.bias, attn.in_proj_bias, attn.out_proj.bias]:
        torch.nn.init.normal_(value, 0.5, 0.3)
    normed = norm1(x)
    mask = torch.triu(torch.ones(7, 7, dtype=torch.bool), 1)
    joined = x + attn(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
    y = joined + proj(F.gelu(fc(norm2(joined))))
    loss = F.mse_loss(y, target)
    layers = [("norm1", norm1), ("attn", attn), ("norm2", norm2), ("fc", fc), ("proj", proj)]
    params = {f"{n}.{k}": v for n, l in layers for k, v in l.named_parameters()}
    wanted = {"dx": x, "dnorm1_weight": norm1.weight, "dnorm1_bias": norm1.bias, "dattn_in_proj_weight": attn.in_proj_weight,
              "dattn_in_proj_bias": attn.in_proj_bias, "dattn_out_proj_weight": attn.out_proj.weight,
              "dfc_weight": fc.weight, "dproj_bias": proj.bias}
    write("attention", {"x": x, "target": target}, params, with_gradients(loss, {"y": y}, wanted))


def pendulum():
    stiffness, damping, start = (torch.tensor(v, requires_grad=True) for v in (4.2, 0.3, 1.2))
    angle = torch.randn(50, requires_grad=True)
    dt, a, v, path = 0.05, start, torch.zeros(()), []

    def slope(a, v):
        return v, -stiffness * torch.sin(a) - damping * v

    for _ in range(50):
        path.append(a)
        a1, v1 = slope(a, v)
        a2, v2 = slope(a + dt / 2 * a1, v + dt / 2 * v1)
        a3, v3 = slope(a + dt / 2 * a2, v + dt / 2 * v2)
        a4, v4 = slope(a + dt * a3, v + dt * v3)
        a, v = a + dt / 6 * (a1 + 2 * a2 + 2 * a3 + a4), v + dt / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
    path = torch.stack(path)
    loss = ((path - angle) ** 2).mean() + 0.1 * v * a
    wanted = {"dstiffness": stiffness, "ddamping": damping, "dstart": start, "dangle": angle}
    inputs = {"angle": angle, "stiffness": stiffness, "damping": damping, "start": start}
    write("pendulum", inputs, {}, with_gradients(loss, {"path": path}, wanted))


mlp()
convnet()
attention()
pendulum()
