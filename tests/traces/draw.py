#!/usr/bin/env python3
"""Draws a day: how full the fullest node is, over time, by policy. Python 3.8+, standard library only.

    python3 draw.py TRACE.csv[.gz] PICTURE.svg NAME=COMMAND...

Each COMMAND is a placement program as replay.py drives it; NAME is what the picture calls it. Below the lines lies
the mean of all nodes, and dashed above it what no placement can stay under. Traces in which nodes fail are not drawn.
"""
import os
import shlex
import subprocess
import sys
import tempfile
import score as S

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 28, 64, 36
WINDOW = 12            # steps of 10 s that one point shows the fullest of
# Okabe and Ito's colours: told apart by everybody.
COLOURS = ["#0072b2", "#d55e00", "#cc79a7", "#009e73", "#e69f00"]


def main():
    if len(sys.argv) < 4 or any("=" not in word for word in sys.argv[3:]):
        sys.exit(__doc__)
    path, picture = sys.argv[1:3]
    trace = S.Trace(path)
    if trace.node_events:
        sys.exit("%s: nodes fail in it, and it cannot be drawn" % path)
    mean, ideal = bounds(trace)
    lines = []
    for word in sys.argv[3:]:
        name, command = word.split("=", 1)
        placements, figure = replay(path, shlex.split(command))
        lines.append(("%s, imb_p99 %.2f" % (name, figure), fullest(trace, placements)))
    with open(picture, "w") as out:
        out.write(svg(mean, ideal, lines))


def replay(path, command):
    """Where a program puts the meetings, and its imb_p99."""
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as scratch:
        log = os.path.join(scratch, "placements.csv")
        subprocess.run([sys.executable, os.path.join(here, "replay.py"), path, "--log", log, "--"] + command,
                       stdout=subprocess.DEVNULL, check=True)
        placements = S.read_placements(log)
    return placements, S.score(S.Trace(path), placements)["imb_p99"]


def over_time(stays):
    """How many are there at each step, of (from, to) in milliseconds."""
    steps = [0.0] * S.DAY_STEPS
    for begin, end in stays:
        if begin < end:
            steps[min(S.ceil_step(begin), S.DAY_STEPS - 1)] += 1
            steps[min(S.ceil_step(end), S.DAY_STEPS - 1)] -= 1
    return S.cumsum(steps)


def stays_of(meeting):
    return [(counted, left) for _, _, counted, left in meeting["stays"]]


def bounds(trace):
    """The mean of all nodes, and what the fullest one cannot be less full than."""
    capacities = [S.UNIT_CAP * weight for weight in trace.weight.values()]
    total, largest = [0.0] * S.DAY_STEPS, [0.0] * S.DAY_STEPS
    for meeting in trace.meetings:
        first, last = S.ceil_step(meeting["create"]), min(S.ceil_step(meeting["end"]) + 1, S.DAY_STEPS)
        there = over_time(stays_of(meeting))
        for step in range(first, last):
            total[step] += there[step]
            largest[step] = max(largest[step], there[step])
    mean = [count / sum(capacities) for count in total]
    return mean, [max(mean[step], largest[step] / max(capacities)) for step in range(S.DAY_STEPS)]


def fullest(trace, placements):
    node_of = {(at, tenant, room): node for at, tenant, room, node in placements}
    stays = {node: [] for node in trace.nodes}
    for meeting in trace.meetings:
        stays[node_of[meeting["create"], meeting["tenant"], meeting["id"]]] += stays_of(meeting)
    full = [[count / (S.UNIT_CAP * trace.weight[node]) for count in over_time(stays[node])] for node in trace.nodes]
    return [max(step) for step in zip(*full)]


def svg(mean, ideal, lines):
    busy = [step for step in range(S.DAY_STEPS) if mean[step] > 0.02 * max(mean)]
    hours = (busy[0] * S.STEP // 3_600_000, -(-busy[-1] * S.STEP // 3_600_000))
    steps = range(hours[0] * 360, min(hours[1] * 360, S.DAY_STEPS - WINDOW) + 1, WINDOW)
    top = max(1.0, max(max(line) for _, line in lines)) * 1.05

    def x(step):
        return LEFT + (WIDTH - LEFT - RIGHT) * (step / 360 - hours[0]) / (hours[1] - hours[0])

    def y(full):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * full / top

    def points(line):
        return " ".join("%.1f,%.1f" % (x(step), y(max(line[step:step + WINDOW]))) for step in steps)

    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">'
           % (WIDTH, HEIGHT),
           '<title>How full the fullest node is, by policy</title>',
           '<rect width="100%" height="100%" fill="#fff"/>']
    for percent in range(0, int(top * 100) + 1, 50 if top < 3 else 100):
        height = y(percent / 100)
        out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/>'
                   % (LEFT, WIDTH - RIGHT, height, height, "#888" if percent == 100 else "#e4e4e4"))
        out.append('<text x="%d" y="%.1f" text-anchor="end" fill="#444">%d %%</text>' % (LEFT - 8, height + 4, percent))
    for hour in range(hours[0], hours[1] + 1):
        out.append('<text x="%.1f" y="%d" text-anchor="middle" fill="#444">%d:00</text>'
                   % (x(hour * 360), HEIGHT - 12, hour))
    out.append('<polygon points="%.1f,%.1f %s %.1f,%.1f" fill="#ececec"/>'
               % (x(steps[0]), y(0), points(mean), x(steps[-1]), y(0)))
    for number, (_, line) in enumerate(reversed(lines)):
        out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="1.8"/>'
                   % (points(line), COLOURS[(len(lines) - 1 - number) % len(COLOURS)]))
    out.append('<polyline points="%s" fill="none" stroke="#222" stroke-dasharray="3 3"/>' % points(ideal))
    named = [(name, COLOURS[number % len(COLOURS)], "") for number, (name, _) in enumerate(lines)]
    named += [("no placement can be lower", "#222", "3 3"), ("mean of all nodes", "#d0d0d0", "")]
    for number, (name, colour, dashes) in enumerate(named):
        left, height = LEFT + number % 3 * 300, 20 + number // 3 * 20
        out.append('<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="3" stroke-dasharray="%s"/>'
                   % (left, left + 24, height - 4, height - 4, colour, dashes))
        out.append('<text x="%d" y="%d" fill="#222">%s</text>' % (left + 32, height, name))
    return "\n".join(out) + "\n</svg>\n"


if __name__ == "__main__":
    main()
