"""Writes truth.csv: elementary functions in 60 digits. Needs mpmath. Usage: python truth.py > truth.csv

A line: function, x (and y of pow) as bits of f64, the value as an f64 and what is left as another f64, as bits.
"""

import random
import struct

from mpmath import cos, erf, exp, expm1, log, log1p, mp, mpf, sin, tanh

mp.prec = 1300  # sin of 2^1000 and differences of tiny numbers
random.seed(0)


def bits(x):
    return f"{struct.unpack('<Q', struct.pack('<d', x))[0]:016x}"


def line(name, value, *arguments):
    high = float(value)
    if abs(high) < 1e-290 or abs(high) == float("inf"):
        return  # too small for a second part
    low = float(value - mpf(high))
    print(",".join([name, *map(bits, arguments), bits(high), bits(low)]))


def wide(low, high):
    return random.choice([-1, 1]) * random.uniform(1, 2) * 2.0 ** random.randint(low, high)


EVERYWHERE = [wide(-30, 2) for _ in range(60)] + [random.uniform(-3, 3) for _ in range(60)]
for x in EVERYWHERE + [random.uniform(-660, 700) for _ in range(30)]:
    line("exp", exp(mpf(x)), x)
    line("expm1", expm1(mpf(x)), x)
for x in EVERYWHERE + [wide(-1000, 1000) for _ in range(30)] + [1 + wide(-50, -3) for _ in range(30)]:
    line("log", log(mpf(abs(x))), abs(x))
for x in EVERYWHERE + [abs(wide(3, 1000)) for _ in range(30)] + [wide(-3, -1) for _ in range(40)]:
    if x > -1:
        line("log1p", log1p(mpf(x)), x)
for x in EVERYWHERE + [random.uniform(-1, 1) for _ in range(80)]:
    line("tanh", tanh(mpf(x)), x)
    line("erf", erf(mpf(x)), x)
HALF_TURNS = [float(k * mp.pi / 2) for k in (1, 2, 3, 5, 7, 100, 12345, 10**6 + 1, 85416667, 2**40 + 5)]
for x in EVERYWHERE + HALF_TURNS + [wide(3, 60) for _ in range(60)] + [wide(60, 1000) for _ in range(30)] + [6381956970095103 * 2.0**797]:
    line("sin", sin(mpf(x)), x)
    line("cos", cos(mpf(x)), x)
for _ in range(200):
    x = abs(wide(*random.choice([(-1, 0), (-5, 5), (-1020, 1020)])))
    most = 690 / abs(float(log(mpf(x))))
    y = random.choice([random.uniform(-most, most), random.uniform(-4, 4) % most, most * 0.999])
    line("pow", mp.power(mpf(x), mpf(y)), x, y)
