import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Jobs run in a fresh process each, pinned to one processor where that is possible: engines share nothing, not even a warm JIT.
 *
 * @typedef {{ variant: string, directory: string, rows: number, seed: number }} Place
 * @typedef {Place & { task: 'measure', workload: string, timeMs: number }} MeasureJob
 * @typedef {Place & { task: 'load', keys: import('../data/rows.mjs').KeyKind }} LoadJob
 * @typedef {Place & { task: 'rewrite and die' }} KillJob
 * @typedef {MeasureJob | LoadJob | KillJob} Job
 *
 * @typedef {{ measurement?: import('./measure.mjs').Measurement, error?: string }} Answer
 */

const childPath = fileURLToPath(new URL('child.mjs', import.meta.url))

/**
 * @param {Job} job
 * @param {number | undefined} cpu
 * @param {string} [profiles] directory for a CPU profile, and for what V8 threw out of optimized code: a function named there hundreds of times is a defect
 * @returns {Promise<import('./measure.mjs').Measurement>} of 'load' and 'rewrite and die', one without meaning
 */
export function runJob(job, cpu, profiles) {
  const subject = job.task === 'measure' ? job.workload : job.task
  const description = `${subject} on ${job.variant}`
  const name = `${description.replaceAll(' ', '-')}-${job.seed}`
  const profiling =
    profiles === undefined ? [] : ['--trace-deopt', '--cpu-prof', '--cpu-prof-dir', profiles, '--cpu-prof-name', `${name}.cpuprofile`]
  const output = profiles === undefined ? 'inherit' : openIn(profiles, `${name}.deopts.txt`)
  const node = [process.execPath, '--expose-gc', ...profiling, childPath]
  const [command, ...args] = cpu === undefined ? node : ['taskset', '-c', String(cpu), ...node]
  const child = spawn(command, args, { stdio: ['ignore', output, 'inherit', 'ipc'] })
  if (typeof output === 'number') closeSync(output)
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
      else if (code === 0 && answer?.measurement !== undefined) resolve(answer.measurement)
      else if (diedAsAsked) resolve({ value: 0, checked: 0 })
      else reject(new Error(`${description}: the process ended with ${signal ?? `status ${code}`} before it answered`))
    })
    child.send(job)
  })
}

/** @param {string} directory @param {string} name */
function openIn(directory, name) {
  mkdirSync(directory, { recursive: true })
  return openSync(join(directory, name), 'w')
}
