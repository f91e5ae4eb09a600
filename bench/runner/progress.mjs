/** One line of progress on standard error: rewritten in place on a terminal, a line per measurement elsewhere. */
export class Progress {
  #total
  #done = 0
  #started = performance.now()
  #terminal = process.stderr.isTTY === true

  /** @param {number} total */
  constructor(total) {
    this.#total = total
  }

  /** @param {string} text what is under way */
  begin(text) {
    if (this.#terminal) process.stderr.write(`\r\x1b[2K${this.#counter()} ${text}${this.#remaining()}`)
  }

  /** @param {string} text what came out */
  end(text) {
    this.#done++
    if (!this.#terminal) process.stderr.write(`${this.#counter()} ${text}\n`)
  }

  close() {
    if (this.#terminal) process.stderr.write('\r\x1b[2K')
  }

  #counter() {
    const width = String(this.#total).length
    return `[${String(this.#done).padStart(width)}/${this.#total}]`
  }

  #remaining() {
    if (this.#done < 5) return ''
    const seconds = ((performance.now() - this.#started) / 1000 / this.#done) * (this.#total - this.#done)
    return seconds < 90 ? `, about ${Math.ceil(seconds)} s left` : `, about ${Math.round(seconds / 60)} min left`
  }
}
