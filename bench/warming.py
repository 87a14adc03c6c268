"""What a trainer's first optimizer costs a process: torch with its compiler, beside torch with the stand-in for it.

Each is a fresh process that imports torch and takes one step of Adam: processor time and the most memory it had,
medians of interleaved rounds.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

ROUNDS = 5
STATED, MISSED = 0.75, 1.05  # more than 5 % beyond = exit 1


def measure(light: bool) -> dict[str, float]:
    """In this process."""
    before = time.process_time()
    if light:
        from worker.light_torch import leave_compiler_out

        leave_compiler_out()
    import torch

    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2)
    torch.optim.Adam([weight], lr=1e-3).step()
    return {"cpu": time.process_time() - before, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> int:
    found: dict[str, list[dict[str, float]]] = {"whole": [], "light": []}
    for number in range(ROUNDS + 1):
        for way in found if number % 2 else reversed(found):
            argv = [sys.executable, "-m", "bench.warming", way]
            told = subprocess.run(argv, env=os.environ, capture_output=True, text=True, check=True).stdout
            if number:  # the first fills the file cache
                found[way].append(json.loads(told))
    print("| a process's first step of Adam | processor, s | memory, MiB |")
    print("|---|---|---|")
    for way, name in (("whole", "torch"), ("light", "torch without its compiler, as trainers have it")):
        cpu, mib = (statistics.median(one[figure] for one in found[way]) for figure in ("cpu", "mib"))
        print(f"| {name} | {cpu:.2f} | {mib:.0f} |")
    ratio = statistics.median(a["cpu"] / b["cpu"] for a, b in zip(found["light"], found["whole"], strict=True))
    print(f"\nprocessor time {ratio:.2f}x, stated: at most {STATED}")
    return int(ratio > STATED * MISSED)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1] == "light")))
    else:
        sys.exit(main())
