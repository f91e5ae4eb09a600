import { commitWorkloads } from './commit.mjs'
import { concurrentWorkloads } from './concurrent.mjs'
import { fillWorkloads } from './fill.mjs'
import { openWorkloads } from './open.mjs'
import { readWorkloads } from './read.mjs'
import { sizeWorkloads } from './size.mjs'
import { ycsbWorkloads } from './ycsb.mjs'

/** @type {readonly import('./workload.mjs').Workload[]} */
export const workloads = [
  ...readWorkloads,
  ...fillWorkloads,
  ...ycsbWorkloads,
  ...commitWorkloads,
  ...concurrentWorkloads,
  ...sizeWorkloads,
  ...openWorkloads,
]
