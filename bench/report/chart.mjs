import { formatRatio, formatValue } from './report.mjs'

/**
 * The chart: for every workload a bar from 1 × (as good as lmdb with shared structures) to what nextkey reached, on a logarithmic axis.
 * Hand-written SVG without scripts or fonts of its own; its colours follow the reader's light or dark scheme.
 */

const width = 920
const labelWidth = 450
const valueWidth = 120
const barHeight = 16
const rowHeight = 24
const top = 78
const plotWidth = width - labelWidth - valueWidth

/**
 * @param {import('./report.mjs').Report} report
 * @returns {string} chart.svg
 */
export function renderChart(report) {
  const bars = report.sections.flatMap((section) => {
    const line = section.lines.find((candidate) => candidate.variant.id === 'nextkey')
    const ratio = line?.ratios['lmdb-shared']
    return line === undefined || ratio === undefined
      ? []
      : [{ title: section.workload.title, ratio, value: formatValue(section.workload.unit, line.line.median) }]
  })
  const least = Math.min(0.5, ...bars.map((bar) => bar.ratio))
  const most = Math.max(4, ...bars.map((bar) => bar.ratio))
  const low = Math.floor(Math.log2(least))
  const high = Math.ceil(Math.log2(most))
  /** @param {number} ratio */
  const x = (ratio) => labelWidth + ((Math.log2(ratio) - low) / (high - low)) * plotWidth
  const height = top + bars.length * rowHeight + 24
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 2 ** (low + i))
  const step = Math.ceil(ticks.length / 9)

  const grid = ticks.map((tick, i) => {
    const label =
      i % step === 0 || tick === 1
        ? `<text class="tick" x="${round(x(tick))}" y="${top - 8}" text-anchor="middle">${tick < 1 ? `1/${1 / tick}` : tick} ×</text>`
        : ''
    return `<line class="${tick === 1 ? 'one' : 'grid'}" x1="${round(x(tick))}" x2="${round(x(tick))}" y1="${top}" y2="${height - 20}"/>${label}`
  })
  const rows = bars.map(({ title, ratio, value }, i) => {
    const y = top + i * rowHeight + (rowHeight - barHeight) / 2 + 2
    const from = Math.min(x(1), x(ratio))
    const length = Math.max(1, Math.abs(x(ratio) - x(1)))
    return [
      `<text class="label" x="${labelWidth - 10}" y="${y + 12}" text-anchor="end">${escapeXml(title)}</text>`,
      `<rect class="${ratio >= 1 ? 'better' : 'worse'}" x="${round(from)}" y="${y}" width="${round(length)}" height="${barHeight}" rx="2"/>`,
      `<text class="value" x="${width - valueWidth + 10}" y="${y + 12}">${escapeXml(`${formatRatio(ratio)}  ${value}`)}</text>`,
    ].join('')
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="nextkey compared with lmdb with shared structures">
<style>
  svg { color-scheme: light dark; font: 12px system-ui, sans-serif; }
  .back { fill: #ffffff; } .label, .value, .title { fill: #1f2328; } .tick, .note { fill: #59636e; }
  .title { font-size: 16px; font-weight: 600; } .grid { stroke: #d1d9e0; } .one { stroke: #59636e; stroke-width: 1.5; }
  .better { fill: #1a7f64; } .worse { fill: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117; } .label, .value, .title { fill: #e6edf3; } .tick, .note { fill: #9198a1; }
    .grid { stroke: #2a313a; } .one { stroke: #9198a1; } .better { fill: #3fb68b; } .worse { fill: #db6d28; }
  }
</style>
<rect class="back" width="${width}" height="${height}"/>
<text class="title" x="16" y="26">nextkey against lmdb with shared structures</text>
<text class="note" x="16" y="46">How many times better, each at its default durability; right of 1 × nextkey is ahead. ${escapeXml(`${report.settings.rows.toLocaleString('en')} rows, one processor, median of ${report.settings.rounds}.`)}</text>
${grid.join('\n')}
${rows.join('\n')}
</svg>
`
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10
}

/** @param {string} text */
function escapeXml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
