"""Workers on a PBS Pro cluster, one a GPU: flue-bench run … --precision bf16 --cluster pbs.py

An example to start from, which we have not run.
"""

from parsl.addresses import address_by_hostname
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import MpiExecLauncher
from parsl.providers import PBSProProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="nodes",
            address=address_by_hostname(),
            max_workers_per_node=4,
            available_accelerators=4,
            provider=PBSProProvider(
                queue="gpu",
                account="project",
                walltime="12:00:00",
                cpus_per_node=32,
                select_options="ngpus=4",
                init_blocks=0,
                max_blocks=4,
                launcher=MpiExecLauncher(),
                worker_init="source $HOME/flue-bench/.venv/bin/activate",
            ),
        )
    ],
)
