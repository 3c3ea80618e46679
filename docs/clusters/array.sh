#!/bin/bash
# A batch as an array of Slurm jobs, each of which runs a part of the list; no Dask is needed.
#
#     sbatch array.sh models.toml --out zoo --mode data
#
# The parts share one folder on a disk that all nodes see. When all have ended, the same command
# runs what is left: what was killed with a node, or did not fit into the time. Another number of
# parts is no other batch.
#SBATCH --job-name=spectrakit
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00

set -eu
# The array must begin with 1 and have no gaps: a part is I/N, with I from 1 to N.
exec spectrakit batch "$@" \
    --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}"
