import math

from sagan_jax.device import group_memory


def test_the_memory_of_a_container_is_what_its_control_group_may_take(tmp_path):
    root, of = tmp_path / "cgroup", tmp_path / "of"
    (root / "slice/job").mkdir(parents=True)
    of.write_text("0::/slice/job\n")
    assert group_memory(root, of) == math.inf
    (root / "slice/job/memory.max").write_text("max\n")
    assert group_memory(root, of) == math.inf
    (root / "slice/memory.max").write_text("5000\n")
    assert group_memory(root, of) == 5000
    (root / "slice/job/memory.max").write_text("4000\n")
    assert group_memory(root, of) == 4000


def test_in_a_container_the_own_group_is_mounted_as_the_root(tmp_path):
    (tmp_path / "of").write_text("12:cpu,cpuacct:/\n4:memory:/docker/1f\n0::/../1f\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9000\n")
    assert group_memory(tmp_path, tmp_path / "of") == 9000
    (tmp_path / "memory.max").write_text("8000\n")
    assert group_memory(tmp_path, tmp_path / "of") == 8000
    assert group_memory(tmp_path, tmp_path / "nothing") == math.inf
