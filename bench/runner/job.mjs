import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/**
 * Jobs run in a fresh process each, pinned to one processor where that is possible: engines share nothing, not even a warm JIT.
 *
 * @typedef {object} Job
 * @property {'measure' | 'load' | 'rewrite and die'} task
 * @property {string} variant
 * @property {string} directory
 * @property {number} rows
 * @property {number} seed
 * @property {string} [workload] of 'measure'
 * @property {number} [timeMs] of 'measure'
 * @property {import('../data/rows.mjs').KeyKind} [keys] of 'load'
 *
 * @typedef {{ measurement?: import('./measure.mjs').Measurement, error?: string }} Answer
 */

const childPath = fileURLToPath(new URL('child.mjs', import.meta.url))

/**
 * @param {Job} job
 * @param {number | undefined} cpu
 * @param {string} [profiles] directory for a CPU profile
 * @returns {Promise<import('./measure.mjs').Measurement | undefined>}
 */
export function runJob(job, cpu, profiles) {
  const profiling =
    profiles === undefined
      ? []
      : ['--cpu-prof', '--cpu-prof-dir', profiles, '--cpu-prof-name', `${job.workload}-${job.variant}-${job.seed}.cpuprofile`]
  const node = [process.execPath, '--expose-gc', ...profiling, childPath]
  const [command, ...args] = cpu === undefined ? node : ['taskset', '-c', String(cpu), ...node]
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const description = `${job.task} ${job.workload ?? job.keys ?? ''} on ${job.variant}`
  return new Promise((resolve, reject) => {
    /** @type {Answer | undefined} */
    let answer
    child.on('error', reject)
    child.on('message', (message) => {
      answer = /** @type {Answer} */ (message)
    })
    child.on('exit', (code, signal) => {
      const diedAsAsked = job.task === 'rewrite and die' && signal === 'SIGKILL'
      if (answer?.error !== undefined) reject(new Error(`${description} failed: ${answer.error}`))
      else if (diedAsAsked || (code === 0 && answer !== undefined)) resolve(answer?.measurement)
      else reject(new Error(`${description}: the process ended with ${signal ?? `status ${code}`} before it answered`))
    })
    child.send(job)
  })
}
