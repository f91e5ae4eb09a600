/**
 * @param {import('./report.mjs').Report} report
 * @returns {string} results.json: everything measured, every round
 */
export function renderJson({ date, machine, settings, sections }) {
  const workloads = sections.map(({ workload, lines, goals }) => ({
    name: workload.name,
    title: workload.title,
    unit: workload.unit,
    lines: lines.map(({ line, ratios, guarantee }) => ({ ...line, ratios, guarantee })),
    goals,
  }))
  return `${JSON.stringify({ date, machine, settings, workloads }, null, 2)}\n`
}
