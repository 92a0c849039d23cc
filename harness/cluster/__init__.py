"""Runs the cells of a run on the workers of a cluster of Dask.

* `coordinator`   hands out groups of cells, and writes what comes back into the run
* `task`          a chunk that is with the cluster; checks what its worker says
* `cutting`       cuts groups into chunks that are about equally long
* `connection`    the client of Dask, and the workers that it may use
* `messages`      what coordinator and worker tell each other
* `work`          runs a chunk on a worker
* `machine`       what a worker can do, and the resources that tell Dask
* `preload`       makes a worker of Dask one of ours
* `luggage`       the subjects and files that travel to a worker
* `evidence`      the files that travel back
"""
