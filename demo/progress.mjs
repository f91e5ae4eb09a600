import cliProgress from 'cli-progress'
import { count, say } from './terminal.mjs'

/**
 * A progress bar on a terminal; elsewhere a line for every quarter.
 * @param {string} label
 * @param {number} total
 * @returns {{ update(done: number): void, stop(): void }}
 */
export function startProgress(label, total) {
  if (process.stdout.isTTY === true) {
    const bar = new cliProgress.SingleBar(
      { format: `   ${label} {bar} {percentage} %  {value} of {total}  {duration_formatted}`, hideCursor: true, clearOnComplete: false },
      cliProgress.Presets.shades_classic,
    )
    bar.start(total, 0)
    return { update: (done) => bar.update(done), stop: () => bar.stop() }
  }
  let quarter = 0
  return {
    update(done) {
      const reached = Math.floor((done / total) * 4)
      if (reached > quarter) say(`   ${label} ${reached * 25} %  ${count(done)} of ${count(total)}`)
      quarter = Math.max(quarter, reached)
    },
    stop() {},
  }
}
