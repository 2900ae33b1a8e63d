"""Draws the figures of docs/physics.md: python3 docs/physics/plot.py [path of bpc], in the root of the repository.

Trains each example, runs the model on its data, and writes measured and simulated series as SVG beside this file.
"""
import csv, gzip, json, pathlib, subprocess, sys, tempfile

BPC = sys.argv[1] if len(sys.argv) > 1 else "target/release/bpc"
HERE = pathlib.Path(__file__).parent
MEASURED, SIMULATED = "#888888", ["#0b62a4", "#b8420e", "#2c7a3f"]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 250, 56, 40, 26


def table(path):
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    rows = list(csv.reader(opened))
    return {name: [float(row[i]) for row in rows[1:]] for i, name in enumerate(rows[0])}


def outputs(program, inputs, *options):
    with tempfile.TemporaryDirectory() as folder:
        saved, given, found = (f"{folder}/{name}" for name in ("p.safetensors", "in.json", "out.json"))
        subprocess.run([BPC, "train", program, "--save", saved, *options], check=True, capture_output=True)
        shape = lambda x: [len(x)] + (shape(x[0]) if isinstance(x[0], list) else [])
        tensors = {name: {"shape": shape(x), "dtype": "float64", "data": x} for name, x in inputs.items()}
        pathlib.Path(given).write_text(json.dumps(tensors))
        subprocess.run([BPC, "run", program, "--params", saved, "--inputs", given, "--outputs", found, *options], check=True)
        return {name: x["data"] for name, x in json.loads(pathlib.Path(found).read_text()).items()}


def ticks(low, high):
    step = next(s for e in range(-4, 5) for s in (10**e, 2 * 10**e, 5 * 10**e) if (high - low) / s <= 6)
    first = -int(-low // step) if low > 0 else int(low / step)
    return [k * step for k in range(first - 1, first + 9) if low <= k * step <= high]


def panel(top, title, time, unit, series):
    """One diagram: series are (values, colour, width)."""
    values = [v for line, *_ in series for v in line]
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    x = lambda t: LEFT + (t - time[0]) / (time[-1] - time[0]) * (WIDTH - LEFT - 12)
    y = lambda v: top + TOP + (high - v) / (high - low) * (HEIGHT - TOP - BOTTOM)
    parts = [f'<text x="{LEFT}" y="{top + 17}" font-weight="bold">{title}</text>']
    for tick in ticks(low, high):
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - 12}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(time[0], time[-1]):
        parts.append(f'<text x="{x(tick):.1f}" y="{top + HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for line, colour, width in series:
        points = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in zip(time, line))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
    parts.append(f'<text x="{WIDTH - 12}" y="{top + HEIGHT - 8}" text-anchor="end">{unit}</text>')
    return "\n".join(parts)


def draw(name, panels):
    body = "\n".join(panel(i * HEIGHT, *each) for i, each in enumerate(panels))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}" font-family="sans-serif" font-size="12">'
    (HERE / f"{name}.svg").write_text(f'{head}\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n')


def pair(measured, simulated, colour=SIMULATED[0]):
    return [(measured, MEASURED, 2.4), (simulated, colour, 1.1)]


data = table("examples/data/cascaded_tanks.csv")
inputs = {"voltage": data["uEst"], "level": data["yEst"], "voltage_validation": data["uVal"], "level_validation": data["yVal"]}
found = outputs("examples/cascaded_tanks.bp", inputs)
time = [4 * k for k in range(1024)]
draw("cascaded_tanks", [
    ("Estimation: level measured (grey) and simulated, V", time, "s", pair(data["yEst"], found["fitted"])),
    ("Validation", time, "s", pair(data["yVal"], found["predicted"])),
])

data = table("examples/data/silverbox.csv.gz")
found = outputs("examples/silverbox.bp", {"input": data["input"], "output": data["output"]})
begin, end = 38600, 39000
time = [k / 610.3515625 for k in range(begin, end)]
measured, simulated = data["output"][begin:end], found["simulated"][begin:end]
draw("silverbox", [
    ("Test: voltage measured (grey) and simulated from rest, 63 s after the start", time, "s", pair(measured, simulated)),
    ("Their difference, mV", time, "s", [([1000 * (a - b) for a, b in zip(measured, simulated)], SIMULATED[1], 1.1)]),
])

data = table("examples/data/debris.csv")
vectors = lambda names: [list(row) for row in zip(*(data[name] for name in names))]
inputs = {"w": vectors(["wx", "wy", "wz"]), "torque": vectors(["tx", "ty", "tz"])}
found = outputs("examples/debris.bp", inputs, "--model", "debris")
lines = [part for i, name in enumerate(["wx", "wy", "wz"])
         for part in pair(data[name], [row[i] for row in found["simulated"]], SIMULATED[i])]
draw("debris", [("Angular velocity measured (grey) and simulated, rad/s", [k / 10 for k in range(201)], "s", lines)])
