import { NextkeyError } from '../base/errors.js'
import type { File } from '../platform/file-system.js'
import { type Holder, nameHolder, parseHolder } from '../platform/holder.js'
import { Claim } from './superblock.js'

/**
 * Who may write to a database: whoever opened it for writing last (D15).
 *
 * The directory's lock keeps a second writer out, but not one that passes it over (`unsafeShared`), nor one that follows somebody who removed
 * the lock's file, or copied a backup over the data file in use. Those are noticed by the claim: a random token in block 0 of the data file.
 *
 * Y1. An opening for writing leaves its claim there before it reads superblocks and log.
 * Y2. A writer looks whether the claim is still its own before every call that changes a file of the database (GuardedFileSystem). Once it is not,
 *     this opening writes nothing more. Superblocks and witnesses, which are written over the claim, bear it.
 * Y3. An opening that passes over the lock waits between the two, for `GRACE`, opens the file anew, and must find its own claim there: of several
 *     that come at once one is left (as in Fischer's mutual exclusion).
 *
 * So every write of the older writer was looked for before the next one's claim, and is over when that one reads: the claim and what it reads
 * are a grace apart. What was acknowledged is read, then, and nothing that the next one writes is written over. (Without the grace, after a lock
 * whose file somebody removed, a write of pages may still be under way.) A process that is stopped between a look and its write for longer than
 * the grace may do harm; nothing but the lock prevents that.
 */
export class OwnerClaim {
  /** What block 0 has at `Claim.Offset`. */
  readonly bytes: Buffer = Buffer.alloc(Claim.Size)
  readonly token: Uint8Array
  readonly #file: File
  readonly #found: Buffer = Buffer.alloc(Claim.TokenSize)
  #lost: NextkeyError | undefined

  /** `holder`: what others are told of this one. */
  constructor(file: File, token: Uint8Array, holder: Holder) {
    this.#file = file
    this.token = token
    this.bytes.set(token, 0)
    const { pid, host = '', thread, since, program = '' } = holder
    const told = { pid, host: host.slice(0, NAME_LENGTH), thread, since, program: program.slice(-NAME_LENGTH) }
    const note = Buffer.from(JSON.stringify(told), 'utf8')
    if (note.length > Claim.Size - Claim.Note) return
    this.bytes.writeUInt16LE(note.length, Claim.NoteLength)
    note.copy(this.bytes, Claim.Note)
  }

  /** Y1. */
  make(): void {
    this.#file.writeSync(this.bytes, 0, Claim.Size, Claim.Offset)
  }

  /** Y2. Raises ERR_ANOTHER_WRITER. */
  readonly mustHold = (): void => {
    const lost = this.lost()
    if (lost !== undefined) throw lost
  }

  /** ERR_ANOTHER_WRITER if somebody else may write now. */
  lost(): NextkeyError | undefined {
    if (this.#lost !== undefined) return this.#lost
    const found = this.#found
    if (this.#file.readSync(found, 0, Claim.TokenSize, Claim.Offset) === Claim.TokenSize) {
      let at = 0
      while (at < Claim.TokenSize && found[at] === this.bytes[at]) at++
      if (at === Claim.TokenSize) return undefined
    }
    this.#lost = anotherWriter(this.#file)
    return this.#lost
  }
}

function anotherWriter(file: File): NextkeyError {
  const writer = readHolder(file)
  return new NextkeyError(
    'ERR_ANOTHER_WRITER',
    `${file.path} was opened for writing ${nameHolder(writer)}: this opening, which came before, writes nothing more, so that the other one is not harmed; close it, and let only one of them open the directory for writing (the lock sees to that, which unsafeShared passes over)`,
    { details: { file: file.path, writer } },
  )
}

function readHolder(file: File): Holder {
  const bytes = Buffer.alloc(Claim.Size)
  if (file.readSync(bytes, 0, Claim.Size, Claim.Offset) < Claim.Size) return {}
  const length = Math.min(bytes.readUInt16LE(Claim.NoteLength), Claim.Size - Claim.Note)
  return parseHolder(bytes.toString('utf8', Claim.Note, Claim.Note + length))
}

/** Milliseconds in which writes that are under way are over: they are handed to the operating system, not to a disk. */
export const GRACE = 100
/** Characters of a host's or program's name in the claim. */
const NAME_LENGTH = 64
