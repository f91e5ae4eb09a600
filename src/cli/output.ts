import type { Output } from './context.js'

/** Words for people. */
export interface Style {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  bad(text: string): string
  warn(text: string): string
}

export function styleFor(output: Output): Style {
  const code = (open: number, close: number) => (text: string) => (output.colours ? `\x1b[${open}m${text}\x1b[${close}m` : text)
  return { bold: code(1, 22), dim: code(2, 22), good: code(32, 39), bad: code(31, 39), warn: code(33, 39) }
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(Math.floor(Math.log2(count) / 10), units.length)
  return `${(count / 1024 ** power).toFixed(1)} ${units[power - 1]}`
}

export function number(value: number): string {
  return value.toLocaleString('en-US')
}

export function percent(part: number): string {
  return `${Math.round(part * 100)} %`
}

/** Lines of columns as wide as their widest cell; all but the first are set to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
      .join('  ')
      .trimEnd()
  return [head, ...rows].map(line).join('\n')
}

/** "3 rows", "1 row". */
export function counted(count: number, one: string, many: string = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : many}`
}
