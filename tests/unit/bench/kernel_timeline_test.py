"""The arithmetic of bench/kernel_timeline/steps.py. Usage: kernel_timeline_test.py FOLDER_OF_STEPS_PY"""
import gzip
import os
import sys
import tempfile
import unittest

sys.path.insert(0, sys.argv.pop(1))
sys.dont_write_bytecode = True
import steps  # noqa: E402

HEADER = "kind,start,end,device,stream,graph,node,correlation,grid,block,registers,static_smem,dynamic_smem,bytes,name"
FORWARD = "nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_TNT"
WEIGHTS = "nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_NTT"
UPDATE = "void esp::runtime::(anonymous namespace)::apply_kernel<0, float>(esp::Block const*, esp::Batch, double*)"
MARKER = "esp::runtime::(anonymous namespace)::end_kernel(esp::Block*, esp::Rules, esp::Result*)"


def lines_of(*activities):
    """(start, end, name[, node]) in microseconds."""
    return [HEADER] + ["kernel,%d,%d,0,7,1,%d,0,1x1x1,32x1x1,8,0,0,,%s" % (s * 1000, e * 1000, (node + [0])[0], name)
                       for s, e, name, *node in activities]


def read_all(lines):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.csv.gz")
        with gzip.open(path, "wt") as out:
            out.write("\n".join(lines) + "\n")
        return steps.read(path)


def read(lines):
    return read_all(lines)[1]


# A step from 10 to 30: forward, a gap of 2, weight gradients with an update beside and after them, a gap of 1, the end.
STEP = lines_of((9, 10, MARKER), (10, 14, FORWARD), (16, 22, WEIGHTS), (20, 28, UPDATE), (29, 30, MARKER))


class KernelTimeline(unittest.TestCase):
    def setUp(self):
        (self.step,) = steps.steps_of(read(STEP), steps.MARKER)

    def test_a_step_lasts_from_the_end_of_one_marker_to_the_end_of_the_next(self):
        begin, end, inside = self.step
        self.assertEqual((begin, end, len(inside)), (10000, 30000, 4))

    def test_shares_and_idle_time_add_up_to_the_step(self):
        begin, end, inside = self.step
        rows, idle = steps.by_group(begin, end, inside)
        self.assertEqual(idle, 3000)
        self.assertEqual(sum(r["share"] for r in rows.values()) + idle, end - begin)

    def test_time_beside_others_is_shared_and_not_alone(self):
        rows, _ = steps.by_group(*self.step)
        self.assertEqual(rows["products, weight gradients"], dict(launches=1, busy=6000, occupied=6000, alone=4000, share=5000))
        self.assertEqual(rows["update"], dict(launches=2, busy=9000, occupied=9000, alone=7000, share=8000))

    def test_launches_of_a_group_that_overlap_occupy_their_time_once(self):
        begin, end, inside = steps.steps_of(read(lines_of((0, 1, MARKER), (1, 5, FORWARD), (3, 7, FORWARD), (7, 8, MARKER))),
                                            steps.MARKER)[0]
        forward = steps.by_group(begin, end, inside)[0]["products forward"]
        self.assertEqual((forward["busy"], forward["occupied"], forward["alone"]), (8000, 6000, 6000))

    def test_gaps_name_their_neighbours(self):
        found = [(length, before and before.group, after.group) for length, before, after in steps.gaps(*self.step)]
        self.assertEqual(found, [(2000, "products forward", "products, weight gradients"), (1000, "update", "update")])

    def test_update_is_split_at_the_last_other_kernel(self):
        _, end, inside = self.step
        self.assertEqual(steps.update_facts(end, inside), (8000, 2000, 0))

    def test_kernels_beside_the_update_are_kept_apart(self):
        lines = lines_of((0, 1, MARKER), (1, 3, WEIGHTS), (3, 4, UPDATE), (4, 5, MARKER), (6, 10, WEIGHTS), (6, 11, UPDATE),
                         (11, 12, MARKER))
        times = steps.stretched(steps.steps_of(read(lines), steps.MARKER))
        self.assertEqual(list(times.values()), [([2000], [4000])])

    def test_one_kernel_for_two_shapes_is_told_apart_by_its_neighbours(self):
        lines = lines_of((0, 1, MARKER), (1, 3, WEIGHTS), (4, 8, FORWARD), (9, 12, WEIGHTS), (13, 14, MARKER))
        times = steps.stretched(steps.steps_of(read(lines), steps.MARKER))
        self.assertEqual([without for without, _ in times.values()], [[2000], [4000], [3000]])

    def test_the_critical_path_follows_edges_of_the_captured_graph_through_nodes_that_do_not_run(self):
        edges = ["edge,1,2", "edge,1,9", "edge,9,3", "edge,2,4", "edge,3,4"]  # 9 is only a joint
        clones = ["clone,%d,%d" % (n, n + 100) for n in (1, 2, 3, 4, 9)]
        _, activities, graphs = read_all(lines_of((0, 1, MARKER), (2, 4, FORWARD, 101), (4, 5, FORWARD, 102),
                                                  (5, 9, WEIGHTS, 103), (12, 13, MARKER, 104)) + edges + clones)
        path = steps.critical_path(*steps.steps_of(activities, steps.MARKER)[0], graphs)
        self.assertEqual([(a.node, waited, ran) for a, waited, ran in path],
                         [(101, 1000, 2000), (103, 1000, 4000), (104, 3000, 1000)])

    def test_a_line_that_broke_off_is_left_out(self):
        self.assertEqual(len(read(STEP + ["kernel,31000,320"])), 5)

    def test_names_fall_into_groups(self):
        space = "void esp::vit::fused::(anonymous namespace)::"
        for name, group in [(UPDATE, "update"), (UPDATE.replace("apply_kernel", "apply_whole_kernel"), "update"),
                            (FORWARD, "products forward"), (WEIGHTS, "products, weight gradients"),
                            ("nvjet_hsh_64x8_64x16_4x1_v_bz_splitK_NNT", "products, input gradients"),
                            (space + "gelu_forward_kernel<__nv_bfloat16>(long, x)", "GELU forward"),
                            (space + "forward_kernel<__nv_bfloat16, 1>(AttentionShape, x)", "attention forward"),
                            (space + "backward_kernel<__nv_bfloat16>((anonymous namespace)::Arrays<x>)", "attention backward"),
                            (space + "backward_kernel<__nv_bfloat16>(long, int, int, x)", "head and loss"),
                            ("host to device", "copies and memsets"), ("somebody_elses", "other")]:
            self.assertEqual(steps.group_of(name), group, name)

    def test_floors_grow_with_the_batch_but_for_the_update(self):
        small, large = steps.vit_base_floors(8), steps.vit_base_floors(16)
        self.assertEqual(small["update"], large["update"])
        for group in small.keys() - {"update"}:
            self.assertAlmostEqual(large[group], 2 * small[group])


if __name__ == "__main__":
    unittest.main()
