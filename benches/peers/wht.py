"""The backward passes of wht.bp: tokens mirrored to whole blocks of 8 x 8, each block a product with the kept Walsh functions."""
from peer import serve

SIDE, BLOCK = 14, 8


def walsh(n):
    import numpy as np

    rows = np.array([[1 - 2 * (bin(i & j).count("1") % 2) for j in range(n)] for i in range(n)], dtype=np.float32)
    return rows[np.argsort((np.diff(rows, axis=1) != 0).sum(1), kind="stable")]


def functions(k):
    import numpy as np

    w = walsh(BLOCK)
    return np.stack([np.outer(w[r], w[c]).reshape(-1) / BLOCK for r in range(BLOCK) for c in range(BLOCK) if r + c < k])


def mirrored():
    blocks = -(-SIDE // BLOCK)
    before = -(-(blocks * BLOCK - SIDE) // 2)
    places = [abs(at - before) for at in range(blocks * BLOCK)]
    return blocks, before, [place if place < SIDE else 2 * (SIDE - 1) - place for place in places]


def exact(x, weight, gy):
    rows, gs = x.reshape(-1, x.shape[-1]), gy.reshape(-1, gy.shape[-1])
    return (gs @ weight).reshape(x.shape), gs.T @ rows


def slow(k):
    import torch

    phi = torch.from_numpy(functions(k))
    blocks, before, places = mirrored()
    index = torch.tensor([row * SIDE + column for row in places for column in places])
    # Tokens in the order of blocks, so that the gather cuts too.
    order = torch.arange(len(index)).reshape(blocks, BLOCK, blocks, BLOCK).permute(0, 2, 1, 3).reshape(-1)
    index = index[order]
    inside = torch.empty(len(order), dtype=torch.long)
    inside[order] = torch.arange(len(order))
    inside = inside.reshape(blocks * BLOCK, blocks * BLOCK)[before : before + SIDE, before : before + SIDE].reshape(-1)

    def project(t):
        return phi @ t.index_select(1, index).reshape(t.shape[0], blocks * blocks, BLOCK * BLOCK, t.shape[-1])

    def function(x, weight, gy):
        s, g = project(x), project(gy)
        back = phi.T @ (g @ weight)
        grad_x = back.reshape(x.shape[0], -1, x.shape[-1]).index_select(1, inside)
        return grad_x, g.reshape(-1, g.shape[-1]).T @ s.reshape(-1, s.shape[-1])

    return function


def torch_case(make):
    def build(inputs, parameters, compile):
        import torch

        function = torch.compile(make()) if compile else make()

        def step():
            with torch.no_grad():
                grad_x, grad_weight = function(inputs["x"], inputs["weight"], inputs["gy"])
            return {"grad_x": grad_x, "grad_weight": grad_weight}

        return step

    return build


serve({
    "exact": {"torch": torch_case(lambda: exact)},
    "slow2": {"torch": torch_case(lambda: slow(2))},
    "slow4": {"torch": torch_case(lambda: slow(4))},
})
