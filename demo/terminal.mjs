import { styleText } from 'node:util'

/** What the reader sees: headings, sentences, figures and verdicts. Colours only on a terminal, and not with NO_COLOR. */

const colours = process.stdout.isTTY === true && !process.env.NO_COLOR
let failures = 0

/**
 * @param {Parameters<typeof styleText>[0]} style
 * @param {string} text
 */
function paint(style, text) {
  return colours ? styleText(style, text) : text
}

/** @param {string} [line] */
export function say(line = '') {
  process.stdout.write(`${line}\n`)
}

/**
 * @param {number} step
 * @param {string} title
 */
export function heading(step, title) {
  say(`\n${paint('bold', `${step}. ${title}`)}`)
}

/** An explanation: quieter than what happens. @param {string} text */
export function explain(text) {
  say(paint('dim', text))
}

/** Code the reader could type. @param {string} code */
export function show(code) {
  say(`   ${paint('cyan', code)}`)
}

/**
 * One fact that must hold. A failed one makes the demo's exit status non-zero.
 * @param {boolean} holds
 * @param {string} fact
 */
export function verdict(holds, fact) {
  if (!holds) failures++
  say(`   ${holds ? paint('green', '✔') : paint('red', '✘ NOT TRUE:')} ${fact}`)
}

/** How many facts did not hold so far. */
export function failedVerdicts() {
  return failures
}

/** @param {number} n */
export function count(n) {
  return n.toLocaleString('en')
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  if (milliseconds < 1) return `${Math.max(1, Math.round(milliseconds * 1000))} µs`
  if (milliseconds < 1000) return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`
  return `${(milliseconds / 1000).toFixed(1)} s`
}
