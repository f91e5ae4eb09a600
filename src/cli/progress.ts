import cliProgress from 'cli-progress'

/** A progress bar on a terminal; nothing elsewhere. It appears with the first news. */
export class Progress {
  readonly #label: string
  readonly #stream: NodeJS.WritableStream | undefined
  #bar: InstanceType<typeof cliProgress.SingleBar> | undefined

  constructor(label: string, stream: NodeJS.WritableStream | undefined) {
    this.#label = label
    this.#stream = stream
  }

  update(done: number, total: number): void {
    if (this.#stream === undefined) return
    if (this.#bar === undefined) {
      const format = `${this.#label} {bar} {percentage} %  {duration_formatted}`
      this.#bar = new cliProgress.SingleBar(
        { format, stream: this.#stream, hideCursor: true, clearOnComplete: true, fps: 10 },
        cliProgress.Presets.shades_classic,
      )
      this.#bar.start(total, done)
    }
    this.#bar.setTotal(total)
    this.#bar.update(done)
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}
