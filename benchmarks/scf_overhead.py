"""SCF cost of nn-mgga over r2SCAN from libxc: one thread, same grid, interleaved runs, CPU time.

    python benchmarks/scf_overhead.py

writes benchmarks/results/scf_overhead_*.json: water and benzene in def2-TZVP, 9-anthrol (15 heavy atoms) in
def2-TZVP with one pair of runs.
"""

from pathlib import Path

from kakehashi_pyscf.bench import bench_scf

RESULTS = Path(__file__).parent / "results"

if __name__ == "__main__":
    bench_scf(
        "nn-mgga",
        molecules=("water", "benzene"),
        repeats=3,
        output=RESULTS / "scf_overhead_small.json",
    )
    bench_scf(
        "nn-mgga", molecules=("anthrol",), repeats=1, output=RESULTS / "scf_overhead_anthrol.json"
    )
