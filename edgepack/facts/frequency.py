"""``frequency``: the governor of every group of CPUs, and its frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import folders, whole

CPU = "/sys/devices/system/cpu"
SCRIPT = f"""
set -- {CPU}/cpufreq/policy*
[ -d "$1" ] || set -- {CPU}/cpu[0-9]*/cpufreq
[ -d "$1" ] || exit 0
for folder do
  for name in affected_cpus scaling_governor scaling_cur_freq scaling_max_freq cpuinfo_max_freq \\
    scaling_available_governors; do
    set -- "$@" "$folder/$name"
  done
done
grep -s . /dev/null "$@"
exit 0
"""
MOST = 512


def command() -> list[str]:
    """Print the files of cpufreq's policies, or of every CPU where a kernel has no policies."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``policies``, a list: name, governor, governors (to choose from), cpus, frequencies in kHz.

    ``maximum_khz`` is what is allowed now, ``hardware_khz`` what the CPU can do.
    """
    found = []
    for folder, files in folders(text).items():
        name = folder.removesuffix("/cpufreq").rpartition("/")[2]
        policy: dict[str, Any] = {
            "name": name,
            "governor": files.get("scaling_governor", ""),
            "governors": files.get("scaling_available_governors", "").split(),
            "cpus": files.get("affected_cpus", "").split(),
            "current_khz": whole(files.get("scaling_cur_freq", "")),
            "maximum_khz": whole(files.get("scaling_max_freq", "")),
            "hardware_khz": whole(files.get("cpuinfo_max_freq", "")),
        }
        found.append({key: value for key, value in policy.items() if value})
    known = [policy for policy in found if "governor" in policy or "current_khz" in policy]
    return {"policies": known[:MOST]} if known else {}
