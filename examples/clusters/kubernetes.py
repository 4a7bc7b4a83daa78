"""Workers as pods of a Kubernetes cluster: flue-bench run … --cluster kubernetes.py --threads 8

An example to start from, which we have not run: it needs the package kubernetes, a driver that the pods can reach, and
a volume with the results, the caches and this driver's current folder under the same paths.
"""

from parsl.addresses import address_by_hostname
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import KubernetesProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="pods",
            address=address_by_hostname(),
            cores_per_worker=8,
            max_workers_per_node=1,
            provider=KubernetesProvider(
                image="registry.example.org/flue-bench:0.1.0",
                namespace="default",
                init_cpu=8,
                max_cpu=8,
                init_mem="16Gi",
                max_mem="32Gi",
                init_blocks=0,
                max_blocks=8,
                persistent_volumes=[("shared", "/shared")],
            ),
        )
    ],
)
