"""SCF cost of neural meta-GGAs over r2SCAN from libxc: one thread, same grid, interleaved runs, CPU time.

    python benchmarks/scf_overhead.py

writes benchmarks/results/scf_overhead_*.json: water and benzene in def2-TZVP with kh-mgga and with nn-mgga,
9-anthrol (15 heavy atoms) in def2-TZVP with one pair of runs of nn-mgga.
"""

from pathlib import Path

from kakehashi_pyscf.bench import bench_scf

RESULTS = Path(__file__).parent / "results"

if __name__ == "__main__":
    for name in ("kh-mgga", "nn-mgga"):
        bench_scf(
            name,
            molecules=("water", "benzene"),
            repeats=3,
            output=RESULTS / f"scf_overhead_{name.replace('-', '_')}.json",
        )
    bench_scf(
        "nn-mgga", molecules=("anthrol",), repeats=1, output=RESULTS / "scf_overhead_anthrol.json"
    )
