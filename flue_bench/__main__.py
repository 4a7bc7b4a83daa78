"""``python -m flue_bench`` is ``flue-bench``."""

from flue_bench.cli import main

main()
