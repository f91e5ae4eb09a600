import { InvalidArgumentError as BadArgument, Command, CommanderError, Option } from 'commander'
import { backup } from './commands/backup.js'
import { check } from './commands/check.js'
import { compact } from './commands/compact.js'
import { dump } from './commands/dump.js'
import { locks, status } from './commands/live.js'
import { load } from './commands/load.js'
import { log } from './commands/log.js'
import { repair } from './commands/repair.js'
import { restore } from './commands/restore.js'
import { stat } from './commands/stat.js'
import { type CommonOptions, type Context, Exit } from './context.js'
import { tellFailure } from './failure.js'
import { styleFor } from './output.js'
import { Session } from './session.js'

/** Runs the tool with these arguments, program name left out; resolves to the exit status. */
export async function run(context: Context, args: readonly string[]): Promise<Exit> {
  let exit: Exit = Exit.Ok
  const program = makeProgram(context, (exitStatus) => {
    exit = exitStatus
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exit
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode === 0 ? Exit.Ok : Exit.Usage
  }
}

type Run = (session: Session, options: never, ...args: never[]) => Promise<Exit>

function makeProgram(context: Context, ended: (exit: Exit) => void): Command {
  const style = styleFor(context.stdout)
  const program = new Command('nextkey')
  program
    .description('Looks after nextkey databases: a database is the directory that was given to open().')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text),
      getOutHasColors: () => context.stdout.colours,
      getErrHasColors: () => context.stderr.colours,
    })
    .configureHelp({ styleTitle: style.bold, showGlobalOptions: false })
    .helpCommand(true)
    .addHelpText('after', OVERVIEW)

  const add = (signature: string, summary: string, help: string, work: Run, consequence?: string): Command => {
    const command = program.command(signature).summary(summary).description(`${summary}.`)
    command.addHelpText('after', `\n${help}\n`)
    command.option('--json', 'the result as JSON, for programs').option('-q, --quiet', 'no progress and no remarks')
    command.addOption(new Option('--wal-directory <path>', "the log's directory, if it was set apart by open()'s walDirectory"))
    command.action(async (...given: unknown[]) => {
      const [options, ...args] = [given.at(-2) as CommonOptions, ...given.slice(0, -2)]
      try {
        ended(await work(new Session(context, options), options as never, ...(args as never[])))
      } catch (error) {
        ended(await tellFailure(context, error, options, consequence))
      }
    })
    return command
  }
  const wait = (): Option => new Option('--wait <seconds>', 'how long to wait for the database if it is in use').argParser(positive)
  const format = (): Option =>
    new Option('--format <name>', 'jsonl: a line of JSON per row; msgpack: MessagePack').choices(['jsonl', 'msgpack'])

  program.commandsGroup('Look (changes nothing, also beside a running application):')
  add('stat <directory>', 'tables, indexes, sizes, log and checkpoint', HELP.stat, stat)
  add('check <directory>', 'verify every block, page, row and index entry', HELP.check, check)
    .option('--recover', 'recover the database first, if it was not closed: takes the lock')
    .addOption(wait())
  add('log <directory>', 'the write-ahead log, one line per group', HELP.log, log)
    .addOption(new Option('--from <position>', 'begin at this log position').argParser(positive))
    .option('--changes', 'the changes of each commit, too')

  program.commandsGroup('Ask a running application (opened with { inspect: true }):')
  add('status <directory>', 'cache, log, checkpoint, transactions, purge', HELP.live, status)
  add('locks <directory>', 'locks held and waited for, and the latest deadlock', HELP.live, locks)

  program.commandsGroup('Copy:')
  add(
    'backup <directory> <copy>',
    'make a copy, or bring one up to date',
    HELP.backup,
    backup,
    'The database is as it was, and so is an older copy.',
  ).addOption(wait())
  add(
    'restore <copy> <directory>',
    'make a database of a copy, verifying every page',
    HELP.restore,
    restore,
    'The copy is as it was, and no database was made.',
  )
  add('dump <directory>', 'rows as JSON lines or MessagePack', HELP.dump, dump, 'The database is as it was.')
    .option('-t, --table <name...>', 'these tables only')
    .addOption(format().default('jsonl'))
    .option('-o, --output <file>', 'write to a file instead of standard output')
    .option('--resume', 'go on with a file that was not finished')
    .option('--read-only', 'show the newest checkpoint, without recovery and beside a running application')
    .addOption(wait())
  add(
    'load <directory> [file]',
    'rows from a dump or from JSON lines, from a file or standard input',
    HELP.load,
    load,
    'The database is whole; rows that are there are replaced, so the load can be run again.',
  )
    .option('-t, --table <name>', 'rows that come before any table description belong to this table')
    .addOption(format())
    .addOption(new Option('--skip <rows>', 'pass over so many rows').argParser(positive))
    .addOption(wait())

  program.commandsGroup('Change:')
  add(
    'compact <directory>',
    'give free space back to the file system',
    HELP.compact,
    compact,
    'The database is whole: compacting is a series of checkpoints.',
  ).addOption(wait())
  add(
    'repair <directory> <new-directory>',
    'save what can be read of a damaged database into a new one',
    HELP.repair,
    repair,
    'The damaged database is as it was; the new one, if there is one, is not complete.',
  ).option('--unverified', 'take pages that are most likely right, where the page map itself is damaged')
  return program
}

function positive(text: string): number {
  const value = Number(text)
  if (!(value >= 0)) throw new BadArgument('It is not a number of 0 or more.')
  return value
}

const OVERVIEW = `
Examples:
  npx nextkey stat ./data                      what is in it
  npx nextkey check ./data && echo sound
  npx nextkey backup ./data /backups/data      again and again: only changes are written
  npx nextkey dump ./data | gzip > data.jsonl.gz

Exit status: 0 done; 1 check or stat found damage, or repair lost rows; 2 wrong arguments; 3 the database is in use;
4 damaged; 5 anything else; 130 interrupted.`

const HELP = {
  stat: `Reads every tree; entries include those that are deleted and not yet purged. A database that was not closed
shows its newest checkpoint: what is in the log only is counted, not shown. Ends with status 1 if it met damage.`,
  check: `Ends with status 1 if anything is wrong. A database that was not closed is checked as of its newest checkpoint;
with --recover, all of it. An application that runs checks itself by db.check().`,
  log: `Positions are bytes since the beginning of the database. What lies before the newest checkpoint's position
(see stat) is in the data file already, and is shown as long as its file is there.`,
  live: 'The application must have opened the database with open(directory, { inspect: true }).',
  backup: `Works while the application writes: if it has the database open with { inspect: true }, it makes the copy itself.
The copy is a database; open it as it is, or see restore. If <copy> holds an older copy of this database, only what
changed since is written. Whatever interrupts it: the database, and an older copy, are as they were.`,
  restore: 'The copy is only read. There must be no database in <directory>.',
  dump: `All tables are of one moment. Values that JSON has not (dates, bytes, bigints …) are objects with one field that begins
with $; load knows them. A database in use is refused: let the application make a backup and dump that, or --read-only.`,
  load: `Tables are made if they are not there, with their indexes. Rows whose key is there are replaced, so loading twice does no
harm. 1,000 rows are a transaction; whoever interrupts it is told how many are in, and how to go on.`,
  compact: 'Moves pages from the end of the data file into free blocks, and cuts the file.',
  repair: `Never writes to <directory>. Saves every row that can be read for certain: from pages whose checksum is right, as the newest
checkpoint and the log have it. Then lists what was lost: pages, ranges of keys, and, where an index tells, the very keys.
Ends with 0 if nothing was lost, with 1 if something was.`,
} as const
