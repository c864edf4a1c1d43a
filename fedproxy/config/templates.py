"""Configurations of endpoints on common sites, to start from. Each loads as it is; what a site must decide itself is marked ``EDIT``."""

from __future__ import annotations

from collections.abc import Mapping

_TAIL = """\
# redis: {nodes: 3, memory: 8GB, interface: 127.0.0.1}   # its own Redis cluster, as the site's first store
# allowed_functions: []                                  # function ids; default: any
"""

LAPTOP = """\
engine:
  type: local              # warm worker processes on this node
  # max_workers: 8         # default: one per CPU
  # min_workers: 1         # grows and shrinks with the work
"""

GPU = """\
engine:
  type: local
  max_workers: 4           # EDIT: one for each accelerator
  available_accelerators: 4
  cpu_affinity: block
  # worker_init: |
  #   module load cuda
"""

SLURM = """\
engine:
  type: parsl
  max_workers_per_node: 32       # EDIT: workers on each node
  # address: {type: address_by_interface, ifname: ib0}   # how nodes reach this machine
  provider:
    type: SlurmProvider
    partition: compute           # EDIT: the partition that jobs go to
    # account: my-project
    # scheduler_options: "#SBATCH --constraint=cpu"
    nodes_per_block: 1
    init_blocks: 0
    min_blocks: 0
    max_blocks: 4
    walltime: "01:00:00"
    launcher: {type: SrunLauncher}
    # worker_init: |
    #   source ~/venv/bin/activate
"""

PBS = """\
engine:
  type: parsl
  max_workers_per_node: 32       # EDIT: workers on each node
  provider:
    type: PBSProProvider
    queue: workq                 # EDIT: the queue that jobs go to
    # account: my-project
    # scheduler_options: "#PBS -l filesystems=home"
    # select_options: "ngpus=4"
    cpus_per_node: 32
    nodes_per_block: 1
    init_blocks: 0
    min_blocks: 0
    max_blocks: 4
    walltime: "01:00:00"
    launcher: {type: MpiExecLauncher}
    # worker_init: |
    #   source ~/venv/bin/activate
"""

KUBERNETES = """\
engine:
  type: parsl
  max_workers_per_node: 1
  # address: 10.0.0.1            # EDIT: how pods reach this machine
  provider:
    type: KubernetesProvider
    image: my-registry/fedproxy-worker   # EDIT: an image that has fedproxy[endpoint,parsl]
    namespace: default
    init_cpu: 1
    max_cpu: 2
    init_mem: 512Mi
    max_mem: 2Gi
    nodes_per_block: 1
    init_blocks: 0
    min_blocks: 0
    max_blocks: 10
"""

AWS = """\
engine:
  type: parsl
  max_workers_per_node: 4
  provider:
    type: AWSProvider
    image_id: ami-00000000       # EDIT: an image that has fedproxy[endpoint,parsl]
    instance_type: m5.xlarge
    region: us-east-1
    key_name: my-key             # EDIT: the name of your key pair
    nodes_per_block: 1
    init_blocks: 0
    min_blocks: 0
    max_blocks: 4
    walltime: "01:00:00"
"""

DASK = """\
engine:
  type: executor
  class: dask.distributed.Client.get_executor
  args: {address: "tcp://127.0.0.1:8786"}   # EDIT: your Dask scheduler
  max_workers: 8
"""

TEMPLATES: Mapping[str, str] = {
    "laptop": LAPTOP, "gpu": GPU, "slurm": SLURM, "pbs": PBS, "kubernetes": KUBERNETES, "aws": AWS, "dask": DASK,
}


def with_workers(name: str, workers: int | None = None) -> str:
    """The part of the file that a template stands for; with so many workers, where it is a laptop's.

    Raises:
        KeyError: there is none of that name.
    """
    text = TEMPLATES[name]
    if workers:
        text = text.replace("  # max_workers: 8         # default: one per CPU\n", f"  max_workers: {workers}\n")
    return text + _TAIL
