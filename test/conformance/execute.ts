/**
 * Runs one scenario: submits each step on its session, lets the system settle, and writes down what happened. A step whose session is still
 * blocked by an earlier one is not submitted. Judging what happened is compare.ts's work.
 */
import type { EngineAdapter, EngineRun, Finished } from './adapter.js'
import { type Lock, type Outcome, probesOf, type Row, type Scenario, type Step, type WaitsFor } from './format.js'
import { describeWait } from './locks.js'

export interface StepObservation {
  readonly outcome: Outcome
  /** Steps that had been waiting and finished during this step. */
  readonly resumed: ReadonlyMap<number, { readonly session: string; readonly outcome: Finished }>
  /** What each waiting session waits for. */
  readonly waits: ReadonlyMap<string, string>
  /** Sessions that were waiting before and now wait for something else. */
  readonly movedOn: ReadonlySet<string>
  readonly locks: readonly Lock[]
}

export interface Observation {
  readonly steps: readonly StepObservation[]
  readonly locksAfter: readonly Lock[]
  /** By position in the scenario's flattened list of probes. */
  readonly probes: ReadonlyMap<number, string>
  readonly locksAfterProbes: readonly Lock[]
  readonly finalRows: Readonly<Record<string, readonly Row[] | { readonly error: string }>>
}

interface Waiting {
  readonly step: number
  on: string | undefined
}

/** Rejects only when the adapter itself fails; the engine's errors are part of the observation. */
export async function execute(adapter: EngineAdapter, scenario: Scenario): Promise<Observation> {
  const run = await adapter.open(scenario)
  try {
    const steps = await new StepRunner(run).runAll(scenario.steps)
    const locksAfter = run.locks()
    const probes = await runProbes(run, scenario)
    const locksAfterProbes = run.locks()
    await run.rollbackAll()
    const finalRows: Record<string, readonly Row[] | { readonly error: string }> = {}
    for (const table of Object.keys(scenario.finalRows ?? {})) finalRows[table] = await run.rows(table)
    return { steps, locksAfter, probes, locksAfterProbes, finalRows }
  } finally {
    await run.close()
  }
}

class StepRunner {
  readonly #run: EngineRun
  /** Sessions with a step under way. */
  readonly #underWay = new Map<string, Waiting>()
  /** Steps that finished since this was last emptied. */
  readonly #finished = new Map<number, { session: string; outcome: Finished }>()

  constructor(run: EngineRun) {
    this.#run = run
  }

  async runAll(steps: readonly Step[]): Promise<StepObservation[]> {
    const observations: StepObservation[] = []
    for (const step of steps) observations.push(await this.#runStep(step))
    return observations
  }

  async #runStep(step: Step): Promise<StepObservation> {
    const skipped = this.#underWay.has(step.session)
    if (!skipped) this.#submit(step)
    await this.#run.settle()
    const own = this.#finished.get(step.i)
    this.#finished.delete(step.i)
    const resumed = new Map(this.#finished)
    this.#finished.clear()
    const waiting = this.#run.waiting()
    const waits = new Map([...waiting].map(([session, on]) => [session, describeWait(on)]))
    const movedOn = new Set<string>()
    for (const [session, wait] of this.#underWay) {
      const on = waits.get(session)
      if (wait.step !== step.i && on !== wait.on) movedOn.add(session)
      wait.on = on
    }
    const outcome: Outcome = skipped ? { skipped: true } : (own?.outcome ?? blockedOn(waiting.get(step.session)))
    return { outcome, resumed, waits, movedOn, locks: this.#run.locks() }
  }

  #submit(step: Step): void {
    this.#underWay.set(step.session, { step: step.i, on: undefined })
    void this.#run.submit(step).then((outcome) => {
      this.#underWay.delete(step.session)
      this.#finished.set(step.i, { session: step.session, outcome })
    })
  }
}

function blockedOn(on: WaitsFor | undefined): Outcome {
  return on === undefined ? { blocked: true } : { blocked: true, on }
}

async function runProbes(run: EngineRun, scenario: Scenario): Promise<Map<number, string>> {
  const outcomes = new Map<number, string>()
  for (const { group, target } of probesOf(scenario)) {
    const outcome = await run.probe(group, target)
    outcomes.set(outcomes.size, typeof outcome === 'string' ? outcome : `error ${outcome.error}`)
  }
  return outcomes
}
