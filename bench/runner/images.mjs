import { existsSync, mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { variants } from '../engines/variants.mjs'
import { copyDirectory, removeDirectory } from './directory.mjs'
import { runJob } from './job.mjs'

/**
 * Loaded databases, made once per run and format, from which every measurement starts: on the image itself if it only reads, on a fresh copy
 * if it writes, in an empty directory if it loads.
 */
export class Images {
  #root
  #rows
  #seed
  #cpu

  /** @param {{ root: string, rows: number, seed: number, cpu: number | undefined }} options */
  constructor({ root, rows, seed, cpu }) {
    this.#root = root
    this.#rows = rows
    this.#seed = seed
    this.#cpu = cpu
  }

  /**
   * Makes the image if it is not there yet.
   * @param {string} format
   * @param {'integer' | 'string' | 'killed'} image
   * @returns {Promise<string>} its directory
   */
  async prepare(format, image) {
    const directory = join(this.#root, 'images', `${format}-${image}`)
    if (existsSync(directory)) return directory
    // The variant whose writes are durable: its image survives the kill whole.
    const variant = variants.find((candidate) => candidate.format === format)?.id
    if (variant === undefined) throw new Error(`no variant has the format ${format}`)
    const unfinished = `${directory}-unfinished`
    removeDirectory(unfinished)
    if (image === 'killed') {
      copyDirectory(await this.prepare(format, 'integer'), unfinished)
      await runJob({ task: 'rewrite and die', variant, directory: unfinished, rows: this.#rows, seed: this.#seed }, this.#cpu)
    } else {
      mkdirSync(unfinished, { recursive: true })
      await runJob({ task: 'load', keys: image, variant, directory: unfinished, rows: this.#rows, seed: this.#seed }, this.#cpu)
    }
    renameSync(unfinished, directory)
    return directory
  }

  /**
   * Runs `work` in the directory a workload starts from, and removes what was made for it.
   * @template T
   * @param {import('../workloads/workload.mjs').Workload} workload
   * @param {import('../engines/variants.mjs').Variant} variant
   * @param {(directory: string) => Promise<T>} work
   * @returns {Promise<T>}
   */
  async withDirectory(workload, variant, work) {
    const image =
      workload.image === 'none' || variant.engine === 'bare-file' ? undefined : await this.prepare(variant.format, workload.image)
    if (image !== undefined && workload.readOnly) return work(image)
    const directory = join(this.#root, 'work')
    removeDirectory(directory)
    if (image !== undefined) copyDirectory(image, directory)
    else mkdirSync(directory, { recursive: true })
    try {
      return await work(directory)
    } finally {
      removeDirectory(directory)
    }
  }
}
