#!/usr/bin/env python3
"""Where each microsecond of a training step goes, from what libkernel_timeline.so wrote.

  steps.py FILE.csv[.gz] [--batch B]              tables of the median step among the last ones
  steps.py FILE... --batch B... --markdown        one table of several: share, busy time and floor of each group
  steps.py FILE.csv --cut OUT.csv.gz              only the last steps, to keep

share: every moment of the step divided among the groups that run in it, so that shares and idle time add up to the step.
busy: sum of the kernels' times. occupied: time in which any runs. alone: time in which only this group's run.

A step lasts from the end of one marker (--marker, a kernel that runs once a step, at its end) to the end of the next.
Standard library only.
"""
import argparse
import collections
import csv
import gzip
import re
import statistics
import sys

MARKER = r"\bend_kernel\("
GBPS, TFLOPS = 3020.0, 989.0  # what an H100's memory reaches, and its bf16 products' peak

# The first expression that matches a kernel's name decides. Products by their layout, as cuBLAS's names end.
GROUPS = [
    ("update", r"\b(apply|apply_whole|begin|end|sum_partials|sum_and_finish|finish_norm|add_tiles|add_squares|scalars)_kernel\b"),
    ("products forward", r"(nvjet|gemm|xmma).*_(TN[TN]|tn)\b"),
    ("products, input gradients", r"(nvjet|gemm|xmma).*_(NN[TN]|nn)\b"),
    ("products, weight gradients", r"(nvjet|gemm|xmma).*_(NT[TN]|nt)\b"),
    ("products, sums of parts", r"splitK"),
    ("products, other", r"nvjet|gemm|xmma|cutlass|gemv"),
    ("attention backward", r"\bbackward_kernel<.*Arrays|class_kernel<.*(true|\(bool\)1)|flash_bwd|fmha.*bwd|bprop"),
    ("attention forward", r"\bforward_kernel<|class_kernel<|flash_fwd|fmha|sdpa"),
    ("norm forward", r"norm_forward_kernel|vectorized_layer_norm"),
    ("norm backward", r"norm_backward_kernel|layer_norm_grad|GammaBeta"),
    ("GELU backward", r"gelu_backward_kernel|GeluBackward"),
    ("GELU forward", r"gelu_forward_kernel|GeluCUDA"),
    ("sums of partials", r"\bsum_kernel\b|reduce_kernel"),
    ("embedding", r"\b(gather|embed|sum_images)_kernel\b"),
    ("head and loss", r"\b(classify|loss|gradient)_kernel\b|\bbackward_kernel<|softmax|nll_loss"),
    ("copies and memsets", r"^(host|device|memset|unknown|peer)|\b(copy|convert|axpby)_kernel\b"),
    ("collectives", r"nccl"),
    ("other", r""),
]
BACKWARD_ENDS = {"update", "copies and memsets"}  # what may follow the last kernel of backward

Activity = collections.namedtuple("Activity", "start end stream graph node grid name group line")


def group_of(name):
    return next(group for group, pattern in GROUPS if re.search(pattern, name))


class Graphs:
    """What waits for what, by the ids of graph nodes as they were captured; those that run are clones."""

    def __init__(self):
        self.original, self.waits_for, self.lines = {}, collections.defaultdict(set), []

    def add(self, kind, first, second, line):
        self.lines.append(line)
        if kind == "clone":
            self.original[second] = first
        else:
            self.waits_for[second].add(first)

    def captured(self, node):
        while node in self.original:
            node = self.original[node]
        return node

    def close(self):
        """Edges among clones are edges of what they are clones of."""
        for node in list(self.waits_for):
            if node in self.original:
                self.waits_for[self.captured(node)] |= {self.captured(n) for n in self.waits_for.pop(node)}

    def before(self, node, visible):
        """Nodes in `visible` that a node waits for, past those that are no activities."""
        found, seen, at = [], set(), list(self.waits_for.get(self.captured(node), ()))
        while at:
            n = at.pop()
            if n in seen:
                continue
            seen.add(n)
            if n in visible:
                found.append(n)
            else:
                at += self.waits_for.get(n, ())
        return found


def read(path):
    """Header, activities in order of their start, and Graphs."""
    opened = gzip.open if path.endswith(".gz") else open
    groups, activities, graphs = {}, [], Graphs()
    with opened(path, "rt") as lines:
        header = next(lines)
        at = {name: i for i, name in enumerate(header.strip().split(","))}
        for line in lines:
            cells = line.rstrip("\n").split(",", len(at) - 1)
            if len(cells) == 3 and cells[0] in ("edge", "clone"):
                graphs.add(cells[0], int(cells[1]), int(cells[2]), line)
            if len(cells) < len(at):
                continue  # or the process ended while it wrote
            name = cells[at["name"]]
            if name not in groups:
                groups[name] = group_of(name)
            activities.append(Activity(int(cells[at["start"]]), int(cells[at["end"]]), cells[at["stream"]],
                                       cells[at["graph"]], int(cells[at["node"]]), cells[at["grid"]], name,
                                       groups[name], line))
    graphs.close()
    return header, sorted(activities, key=lambda a: (a.start, a.end)), graphs


def steps_of(activities, marker):
    """(begin, end, activities that start in between) of each whole step."""
    ends = [a.end for a in activities if re.search(marker, a.name)]
    steps, at = [], 0
    for begin, end in zip(ends, ends[1:]):
        while at < len(activities) and activities[at].start < begin:
            at += 1
        first = at
        while at < len(activities) and activities[at].start < end:
            at += 1
        steps.append((begin, end, activities[first:at]))
    return steps


def sweep(begin, end, activities):
    """Yields (duration, set of groups that run) for each stretch of [begin, end] in which the same activities run."""
    marks = []
    for a in activities:
        if a.end > a.start:
            marks += [(max(a.start, begin), 1, a.group), (min(a.end, end), -1, a.group)]
    marks.sort(key=lambda mark: (mark[0], mark[1]))
    running, last = collections.Counter(), begin
    for time, change, group in marks + [(end, 0, None)]:
        if time > last:
            yield time - last, {g for g, n in running.items() if n > 0}
            last = time
        if group is not None:
            running[group] += change


def by_group(begin, end, activities):
    """Per group: launches, busy, occupied, alone, share (of each moment, divided among those that run); and idle ns."""
    rows = {g: dict(launches=0, busy=0, occupied=0, alone=0, share=0.0) for g in {a.group for a in activities}}
    for a in activities:
        rows[a.group]["launches"] += 1
        rows[a.group]["busy"] += a.end - a.start
    idle = 0
    for duration, running in sweep(begin, end, activities):
        if not running:
            idle += duration
        for group in running:
            rows[group]["occupied"] += duration
            rows[group]["share"] += duration / len(running)
            if len(running) == 1:
                rows[group]["alone"] += duration
    return rows, idle


def gaps(begin, end, activities):
    """(length, activity before, activity after) of each stretch in which nothing runs."""
    found, latest, before = [], begin, None
    for a in activities:
        if a.start > latest:
            found.append((a.start - latest, before, a))
        if a.end > latest:
            latest, before = a.end, a
    return found


def critical_path(begin, end, activities, graphs):
    """From the end of a step back: (activity, ns it waited for the last of what it waits for, ns it ran after that)."""
    at_node = {graphs.captured(a.node): a for a in activities if a.node}
    at = max(activities, key=lambda a: a.end if a.end <= end else 0)
    path, bound = [], end
    while True:
        before = [at_node[n] for n in graphs.before(at.node, at_node)] if at.node else []
        if not before:  # a root, or outside of graphs: one stream carries all that
            before = sorted((a for a in activities if a.end <= at.start and not (at.node and a.node)),
                            key=lambda a: a.end)[-1:]
        last = max((a.end for a in before), default=begin)
        path.append((at, max(0, at.start - last), bound - max(at.start, last)))
        if not before:
            return path[::-1]
        at, bound = max(before, key=lambda a: a.end), last


def update_facts(end, activities):
    """ns of the step after the last kernel that is no update, ns of update beside others, ns of update alone before that."""
    others = [a for a in activities if a.group not in BACKWARD_ENDS]
    last = max(a.end for a in others)
    beside = alone = 0
    for duration, running in sweep(activities[0].start, last, activities):
        if "update" in running:
            if running - {"update"}:
                beside += duration
            else:
                alone += duration
    return end - last, beside, alone


def stretched(steps):
    """Per (group, name, grid): [times without the update], [times beside it], over all steps given. One kernel serves several
    shapes; what is enqueued before and after it tells them apart."""
    times = collections.defaultdict(lambda: ([], []))
    for begin, end, activities in steps:
        updates = [(a.start, a.end) for a in activities if a.group == "update" and "apply" in a.name]
        others = sorted((a for a in activities if a.group not in BACKWARD_ENDS), key=lambda a: (a.node, a.start))
        for before, a, after in zip([None] + others, others, others[1:] + [None]):
            key = a.group, a.name, a.grid, before and (before.name, before.grid), after and (after.name, after.grid)
            covered = sum(max(0, min(a.end, e) - max(a.start, s)) for s, e in updates)
            if covered <= 0.05 * (a.end - a.start):
                times[key][0].append(a.end - a.start)
            elif covered > 0.5 * (a.end - a.start):
                times[key][1].append(a.end - a.start)
    return times


def vit_base_floors(batch):
    """us a step at which memory (3.02 TB/s) or bf16 products (989 TFLOP/s) alone would stand, as the fused executor works:
    of the last block only the class token goes on. The larger of the two counts."""
    c, inner, tokens, blocks, parameters = 768, 3072, 197, 12, 85.8e6
    m, full = batch * tokens, blocks - 1
    block = 2 * m * (4 * c * c + 2 * c * inner)
    last = 2 * m * 2 * c * c + 2 * batch * (2 * c * c + 2 * c * inner)
    patches = 2 * batch * (tokens - 1) * c * c
    flops, moved = (lambda n: n / TFLOPS / 1e6), (lambda n: n / GBPS / 1e3)
    mc = m * c
    return {
        "products forward": flops(full * block + last + patches),
        "products, input gradients": flops(full * block + last),
        "products, weight gradients": flops(full * block + last + patches),
        "attention forward": full * max(flops(4 * batch * tokens**2 * c), moved(8 * mc)) + moved(4 * mc),
        "attention backward": full * max(flops(10 * batch * tokens**2 * c), moved(16 * mc)) + moved(8 * mc),
        "norm forward": (2 * blocks - 1) * moved(4 * mc),
        "norm backward": (2 * blocks - 1) * moved(8 * mc),
        "GELU forward": full * moved(4 * m * inner),
        "GELU backward": full * moved(6 * m * inner),
        "update": moved(28 * parameters),
    }


def short(name):
    name = re.sub(r"\(anonymous namespace\)::|esp::vit::fused::|void ", "", name)
    return re.sub(r"\(.*", "", name)[:64]


def print_groups(begin, end, activities, floors):
    rows, idle = by_group(begin, end, activities)
    print("%-27s %8s %9s %9s %9s %9s %9s" % ("group, us", "launches", "busy", "occupied", "alone", "share", "floor"))
    for group, _ in GROUPS:
        if group in rows:
            r = rows[group]
            floor = "%9.0f" % floors[group] if group in floors else "%9s" % "-"
            print("%-27s %8d %9.1f %9.1f %9.1f %9.1f %s" % (group, r["launches"], r["busy"] / 1e3, r["occupied"] / 1e3,
                                                          r["alone"] / 1e3, r["share"] / 1e3, floor))
    print("%-27s %8d %9.1f %9s %9s %9.1f" % ("nothing runs", len(gaps(begin, end, activities)), idle / 1e3, "", "",
                                             idle / 1e3))
    print("%-27s %8d %9.1f %9s %9s %9.1f %9.0f" % ("step", len(activities), sum(r["busy"] for r in rows.values()) / 1e3,
                                                   "", "", (end - begin) / 1e3, sum(floors.values())))


def print_update(step, steps):
    begin, end, activities = step
    if not any(a.group == "update" for a in activities):
        return
    after, beside, alone = update_facts(end, activities)
    print("update: %.1f us after the last other kernel, %.1f us beside others, %.1f us alone between them" %
          (after / 1e3, beside / 1e3, alone / 1e3))
    found = []
    unknown = 0
    for (group, name, grid, _, _), (without, with_) in stretched(steps).items():
        unknown += 0 if without else sum(with_)
        if without and with_:
            a, b = statistics.median(without), statistics.median(with_)
            found.append(((b - a) * len(with_) / len(steps), a, b, len(with_) / len(steps), group, name, grid))
    if found:
        print("kernels beside the update (median us without it, with it, launches a step with it, us a step it costs):")
    for cost, a, b, n, group, name, grid in sorted(found, reverse=True)[:12]:
        print("  %7.1f %7.1f %5.1f %7.1f  %s %s %s" % (a / 1e3, b / 1e3, n, cost / 1e3, group, grid, short(name)))
    if found:
        print("  sum %.1f us a step; %.1f us of kernels ran beside it only" %
              (sum(f[0] for f in found) / 1e3, unknown / len(steps) / 1e3))


def print_critical_path(begin, end, activities, graphs):
    if not graphs.waits_for:
        return
    path = critical_path(begin, end, activities, graphs)
    sums = collections.defaultdict(lambda: [0, 0, 0])
    for a, waited, ran in path:
        for i, n in enumerate((1, ran, waited)):
            sums[a.group][i] += n
    print("critical path by the edges of the graph: %d of %d activities (us they run on it, us they wait to start):" %
          (len(path), len(activities)))
    for group, _ in GROUPS:
        if group in sums:
            print("  %-27s %4d %9.1f %9.1f" % (group, sums[group][0], sums[group][1] / 1e3, sums[group][2] / 1e3))
    print("  %-27s %4d %9.1f %9.1f" % ("sum", len(path), sum(s[1] for s in sums.values()) / 1e3,
                                      sum(s[2] for s in sums.values()) / 1e3))
    waits = sorted(w for _, w, _ in path)
    print("  waits: median %.1f us, longest:" % (waits[len(waits) // 2] / 1e3))
    for a, waited, _ in sorted(path, key=lambda p: -p[1])[:6]:
        print("    %6.1f us before %s" % (waited / 1e3, short(a.name)))


def print_gaps(begin, end, activities):
    found = sorted(gaps(begin, end, activities), key=lambda g: -g[0])
    print("longest times in which nothing runs:")
    for length, before, after in found[:8]:
        print("  %6.1f us  %s -> %s" % (length / 1e3, short(before.name) if before else "step before", short(after.name)))


def print_markdown(batches, chosen):
    """chosen: (begin, end, activities) of each batch size."""
    tables = [by_group(*step) for step in chosen]
    floors = [vit_base_floors(batch) for batch in batches]
    print("| group | " + " | ".join("batch %d" % b for b in batches) + " |")
    print("|---|" + "---|" * len(batches))
    for group, _ in GROUPS:
        if not any(group in rows for rows, _ in tables):
            continue
        cells = ["%.0f, %.0f, %s" % (rows[group]["share"] / 1e3, rows[group]["busy"] / 1e3,
                                     "%.0f" % floor[group] if group in floor else "-") if group in rows else "-"
                 for (rows, _), floor in zip(tables, floors)]
        print("| %s | %s |" % (group, " | ".join(cells)))
    print("| nothing runs | " + " | ".join("%.0f, -, -" % (idle / 1e3) for _, idle in tables) + " |")
    print("| step | " + " | ".join("%.0f, %.0f, %.0f" % ((end - begin) / 1e3, sum(r["busy"] for r in rows.values()) / 1e3,
                                                       sum(floor.values()))
                                   for (begin, end, _), (rows, _), floor in zip(chosen, tables, floors)) + " |")


def steps_in(path, given):
    """Header, Graphs and the last steps, the shortest first."""
    header, activities, graphs = read(path)
    steps = steps_of(activities, given.marker)[-given.last:]
    if not steps:
        sys.exit("%s: no two kernels match %s among %d activities" % (path, given.marker, len(activities)))
    return header, graphs, sorted(steps, key=lambda s: s[1] - s[0]), activities


def print_step(path, given):
    _, graphs, steps, _ = steps_in(path, given)
    begin, end, inside = step = steps[len(steps) // 2]
    print("%s: step %.1f us (median of %d; %.1f to %.1f)" % (path, (end - begin) / 1e3, len(steps),
                                                           (steps[0][1] - steps[0][0]) / 1e3,
                                                           (steps[-1][1] - steps[-1][0]) / 1e3))
    print_groups(begin, end, inside, vit_base_floors(given.batch[0]) if given.batch else {})
    print_gaps(begin, end, inside)
    print_critical_path(begin, end, inside, graphs)
    print_update(step, steps)
    if given.all:
        for a in inside:
            print("%9.1f %7.1f  s%s n%d %-12s %-26s %s" % ((a.start - begin) / 1e3, (a.end - a.start) / 1e3, a.stream,
                                                       a.node, a.grid, a.group, short(a.name)))


def cut(path, out_path, given):
    header, graphs, steps, activities = steps_in(path, given)
    first = min(begin for begin, _, _ in steps)
    with gzip.open(out_path, "wt") as out:
        out.write(header)
        out.writelines(graphs.lines)
        out.writelines(a.line for a in activities if a.end >= first)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="+")
    parser.add_argument("--marker", default=MARKER, help="regular expression: a kernel that runs once, as a step ends")
    parser.add_argument("--last", type=int, default=10, help="steps looked at [10]")
    parser.add_argument("--batch", type=int, nargs="+", help="of ViT-B/16, one for each file: floors are printed too")
    parser.add_argument("--markdown", action="store_true", help="one table of all files")
    parser.add_argument("--cut", metavar="OUT", help="write the last steps of one file there, and nothing else")
    parser.add_argument("--all", action="store_true", help="every activity of the step, in order")
    given = parser.parse_args()
    if given.markdown:
        if not given.batch or len(given.batch) != len(given.files):
            sys.exit("--markdown needs --batch with a size for each file")
        chosen = [steps[len(steps) // 2] for _, _, steps, _ in (steps_in(path, given) for path in given.files)]
        print_markdown(given.batch, chosen)
    elif given.cut:
        cut(given.files[0], given.cut, given)
    else:
        for path in given.files:
            print_step(path, given)


if __name__ == "__main__":
    main()
