/**
 * An engine that does what it is told: it plays a reading of the scenario back. With the expected reading the runner must find nothing to
 * report; with one thing changed it must report that thing. This is how the runner itself is tested.
 */
import type { EngineAdapter, EngineRun, Finished } from './adapter.js'
import type { Reading } from './expectation.js'
import type { Lock, Outcome, ProbeGroup, ProbeOutcome, ProbeTarget, Row, Scenario, Step, WaitsFor } from './format.js'

export function replayAdapter(choose: (scenario: Scenario) => Reading): EngineAdapter {
  return { name: 'replay', open: async (scenario) => new ReplayRun(choose(scenario)) }
}

class ReplayRun implements EngineRun {
  readonly #reading: Reading
  readonly #blocked = new Map<string, { step: number; on: WaitsFor; resolve: (outcome: Finished) => void }>()
  #current = -1
  #probed = 0

  constructor(reading: Reading) {
    this.#reading = reading
  }

  submit(step: Step): Promise<Finished> {
    const { outcome } = this.#reading.steps[step.i]
    if (isFinished(outcome)) return Promise.resolve(outcome)
    return new Promise((resolve) => {
      const on: WaitsFor = 'blocked' in outcome && outcome.on ? outcome.on : { metadata: 'unnamed' }
      this.#blocked.set(step.session, { step: step.i, on, resolve })
    })
  }

  async settle(): Promise<void> {
    this.#current++
    const step = this.#reading.steps[this.#current]
    for (const { session, expect } of step?.resumes ?? []) {
      const waiting = this.#blocked.get(session)
      this.#blocked.delete(session)
      if (isFinished(expect)) waiting?.resolve(expect)
    }
    for (const { session, on } of step?.nowWaiting ?? []) {
      const waiting = this.#blocked.get(session)
      if (waiting !== undefined) waiting.on = on
    }
    await Promise.resolve()
    await Promise.resolve()
  }

  waiting(): ReadonlyMap<string, WaitsFor> {
    return new Map([...this.#blocked].map(([session, { on }]) => [session, on]))
  }

  locks(): Lock[] {
    const { steps, locksAfter, locksAfterProbes } = this.#reading
    const last = this.#current >= steps.length - 1
    const locks = this.#probed > 0 ? locksAfterProbes : last ? locksAfter : steps[this.#current]?.locks
    return [...(locks ?? [])]
  }

  async probe(_group: ProbeGroup, _target: ProbeTarget): Promise<ProbeOutcome> {
    return this.#reading.probes[this.#probed++].outcome
  }

  async rollbackAll(): Promise<void> {}

  async rows(table: string): Promise<readonly Row[] | { readonly error: string }> {
    return this.#reading.finalRows?.[table] ?? []
  }

  async close(): Promise<void> {}
}

function isFinished(outcome: Outcome): outcome is Finished {
  return 'result' in outcome || 'error' in outcome
}
