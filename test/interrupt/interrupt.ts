import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../../src/index.js'
import { systemEnvironment } from '../../src/tools.js'
import { runTool } from '../support/run-tool.js'
import { Prng } from '../support/seeded.js'
import { type Interruption, runProcess, type ToolResult } from './tool-process.js'

export interface InterruptSettings {
  readonly seed: number
  readonly seconds: number
  readonly rows: number
}

export interface InterruptReport {
  command: string
  killed: number
  /** Ended by Ctrl-C, with exit status 130. */
  ended: number
  /** Runs that were through before the signal came, the last one of each round among them. */
  through: number
}

/** Rounds of every command, until the time is up. Rejects with what was found wrong, and leaves everything as it was then. */
export async function interrupt({ seed, seconds, rows }: InterruptSettings): Promise<InterruptReport[]> {
  const end = performance.now() + seconds * 1000
  const directory = mkdtempSync(join(tmpdir(), 'nextkey-interrupt-'))
  const workshop = new Workshop(directory, new Prng(seed))
  try {
    await workshop.furnish(rows)
    do for (let which = 0; which < COMMANDS.length; which++) await workshop.round(which)
    while (performance.now() < end)
  } catch (error) {
    throw new Error(`seed ${seed}: ${(error as Error).message}\nWhat was left: ${directory}`, { cause: error })
  }
  rmSync(directory, { recursive: true })
  return workshop.reports
}

interface Command {
  readonly name: string
  /** What there is before the first run, besides what every round has. */
  prepare?(shop: Workshop): void
  /** The arguments of the next run; `last` is the one before, which was interrupted. */
  args(shop: Workshop, last: ToolResult | undefined): string[]
  /** After each interruption: raises an error if anything is not as it should be. */
  check?(shop: Workshop): Promise<void>
  /** The file of a dump, or the database, that has to equal `source` in the end. */
  readonly makes: 'made.jsonl' | 'made'
}

const COMMANDS: readonly Command[] = [
  {
    name: 'dump',
    makes: 'made.jsonl',
    args: (shop) => ['dump', shop.at('source'), '-o', shop.at('made.jsonl'), ...(shop.has('made.jsonl') ? ['--resume'] : [])],
  },
  {
    name: 'load',
    makes: 'made',
    args: (shop, last) => ['load', shop.at('made'), shop.at('whole.jsonl'), ...skip(last)],
    check: (shop) => shop.mustBeSound('made'),
  },
  {
    name: 'backup',
    makes: 'made',
    args: (shop) => ['backup', shop.at('source'), shop.at('made')],
    check: (shop) => shop.mustHold('made', 'whole'),
  },
  {
    name: 'backup, again',
    makes: 'made',
    prepare: (shop) => shop.copy('copy', 'made'),
    args: (shop) => ['backup', shop.at('source'), shop.at('made')],
    check: (shop) => shop.mustHold('made', 'older', 'whole'),
  },
  {
    name: 'restore',
    makes: 'made',
    // If it is there, it is whole, and restore would refuse to write over it.
    args: (shop) => (shop.has('made/nextkey.db') ? ['check', shop.at('made')] : ['restore', shop.at('full'), shop.at('made')]),
    check: (shop) => shop.mustHold('made', 'whole'),
  },
  {
    name: 'compact',
    makes: 'made',
    prepare: (shop) => shop.copy('source', 'made'),
    args: (shop) => ['compact', shop.at('made')],
    check: (shop) => shop.mustBeSound('made'),
  },
  {
    name: 'repair',
    makes: 'made',
    args: (shop) => {
      // What an earlier one has left is not complete, as it says.
      shop.remove('made')
      return ['repair', shop.at('source'), shop.at('made')]
    },
  },
]

/** A load that was ended says how to go on; one that was killed is begun anew. */
function skip(last: ToolResult | undefined): string[] {
  const told = /--skip (\d+)/.exec(last?.stderr ?? '')
  return told === null ? [] : ['--skip', told[1]]
}

/**
 * One directory with everything: `source`, a database that was closed, and its dump, `whole.jsonl`; `copy`, a backup of it from when it
 * held something else, and its dump, `older.jsonl`; `full`, a backup of all of it. Each round makes `made`, or `made.jsonl`.
 */
class Workshop {
  readonly reports: InterruptReport[]
  readonly #directory: string
  readonly #random: Prng
  /** Milliseconds that the last run of each command took that was through. */
  readonly #lengths: number[] = COMMANDS.map(() => FIRST_LENGTH)

  constructor(directory: string, random: Prng) {
    this.#directory = directory
    this.#random = random
    this.reports = COMMANDS.map(({ name }) => ({ command: name, killed: 0, ended: 0, through: 0 }))
  }

  at(name: string): string {
    return join(this.#directory, name)
  }

  has(name: string): boolean {
    return existsSync(this.at(name))
  }

  copy(from: string, to: string): void {
    cpSync(this.at(from), this.at(to), { recursive: true })
  }

  remove(name: string): void {
    rmSync(this.at(name), { recursive: true, force: true })
  }

  async furnish(rows: number): Promise<void> {
    const db = await open(this.at('source'), { checkpointBytes: 2 ** 20 })
    const people = await db.table('people', {
      key: 'id',
      autoIncrement: true,
      indexes: { mail: { on: 'mail', unique: true }, town: { on: ['town', 'born'] } },
    })
    const settings = await db.table('settings')
    const fill = async (from: number, to: number): Promise<void> => {
      for (let at = from; at < to; at++) {
        await people.insert(this.#row(at))
        if (at % 100 === 0) await settings.put(['setting', BigInt(at)], new Uint8Array(at % 3000).fill(at))
      }
    }
    await fill(0, rows)
    await db.backup(this.at('copy'))
    await db.transaction((tx) => tx.deleteRange(people, { lt: rows / 4 }))
    await fill(rows, rows + rows / 10)
    await db.backup(this.at('full'))
    await db.close()
    await mustSucceed('dump', this.at('copy'), '--read-only', '-o', this.at('older.jsonl'))
    await mustSucceed('dump', this.at('source'), '--read-only', '-o', this.at('whole.jsonl'))
  }

  #row(number: number): { mail: string; town: string; born: Date; worth: bigint; story: string } {
    const random = this.#random
    return {
      mail: `${number}@example.org`,
      town: `town ${random.int(50)}`,
      born: new Date(random.int(2 ** 31) * 500),
      worth: BigInt(random.int(1000)) ** 10n,
      story: 'word '.repeat(random.int(60)),
    }
  }

  /** A command: some runs that are interrupted, and one that is not. */
  async round(which: number): Promise<void> {
    const command = COMMANDS[which]
    const report = this.reports[which]
    this.remove('made')
    this.remove('made.jsonl')
    command.prepare?.(this)
    let last: ToolResult | undefined
    for (let attempt = 1; last?.exit !== 0; attempt++) {
      const args = command.args(this, last)
      last = await runProcess(args, attempt > INTERRUPTIONS ? undefined : this.#interruption(this.#lengths[which]))
      if (last.exit === 0) report.through++
      else if (last.exit === null) report.killed++
      else if (last.exit === 130) report.ended++
      else throw new Error(`nextkey ${args.join(' ')}\nended with ${last.exit}: ${last.stderr}${last.stdout}`)
      await command.check?.(this)
    }
    this.#lengths[which] = last.length
    await this.mustHold('source', 'whole')
    if (command.makes === 'made') await this.mustHold('made', 'whole')
    else this.#mustEqual(command.makes, 'whole')
  }

  /** At any moment of a run that takes so many milliseconds. */
  #interruption(length: number): Interruption {
    const signal = this.#random.pick(['SIGKILL', 'SIGKILL', 'SIGINT'] as const)
    return { signal, after: (length * this.#random.int(1000)) / 1000 }
  }

  /** If the database is there, it can be opened, and nothing of it is damaged. */
  async mustBeSound(name: string): Promise<void> {
    if (this.has(`${name}/nextkey.db`)) await mustSucceed('check', '--recover', this.at(name))
  }

  /** If the database is there, it holds what one of these dumps holds; to see that, nothing of it is changed. */
  async mustHold(name: string, ...dumps: string[]): Promise<void> {
    if (!this.has(`${name}/nextkey.db`)) return
    this.remove('held.jsonl')
    await mustSucceed('check', this.at(name))
    await mustSucceed('dump', this.at(name), '--read-only', '-o', this.at('held.jsonl'))
    this.#mustEqual('held.jsonl', ...dumps)
  }

  #mustEqual(file: string, ...dumps: string[]): void {
    const held = readFileSync(this.at(file))
    if (!dumps.some((dump) => held.equals(readFileSync(this.at(`${dump}.jsonl`))))) throw new Error(`${file} is not ${dumps.join(' or ')}`)
  }
}

/** Runs the tool in this process. */
async function mustSucceed(...args: string[]): Promise<void> {
  const { exit, stdout, stderr } = await runTool(systemEnvironment, args)
  if (exit !== 0) throw new Error(`nextkey ${args.join(' ')}\nended with ${exit}: ${stderr}${stdout}`)
}

/** Runs of a round that are interrupted, unless one is through before. */
const INTERRUPTIONS = 3
/** Milliseconds that a command is taken to run until one has. */
const FIRST_LENGTH = 200
