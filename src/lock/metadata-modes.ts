/**
 * The modes of metadata locks and the four matrices that say who waits for whom: against what others hold and against what they wait
 * for, on objects (tables) and on scopes (everything of a kind at once). They are MySQL 5.6's, with one mode of 5.7, SRO, which LOCK
 * TABLES … READ needs where there is no other lock of the server's to do it.
 *
 * | mode | taken for |
 * |---|---|
 * | S | looking at a definition |
 * | SH | the same, where pending exclusive requests must not be waited for |
 * | SR | reading rows, locking them in S too |
 * | SW | changing rows, locking them in X |
 * | SU | a schema change while it lets others change rows: it will ask for more |
 * | SRO | LOCK TABLES … READ: nobody changes rows |
 * | SNW | a schema change that lets others read only |
 * | SNRW | LOCK TABLES … WRITE |
 * | X | the moment at which a definition changes |
 * | IS, IX | on a scope: something in it is used; changed |
 *
 * Rules:
 * N1  Locks of one owner never stand in each other's way. So an upgrade waits for everybody else and for nothing of one's own.
 * N2  A request waits for what others hold by the first matrix and for what others *wait for* by the second, whenever they began to.
 *     Requests are thereby of two ranks, not in one line: a pending X holds back new SR and SW, and SH passes it; a new X passes
 *     everything that waits.
 * N3  The second matrix has no conflict that the first has not: when a request is granted, nobody who was ahead of it gets free.
 * N4  What is held satisfies a request if it keeps out at least what the request would.
 */
export const enum MetadataLock {
  S = 0,
  SH = 1,
  SR = 2,
  SW = 3,
  SU = 4,
  SRO = 5,
  SNW = 6,
  SNRW = 7,
  X = 8,
  IS = 9,
  IX = 10,
}

export const METADATA_LOCKS = 11

export type MetadataModeName = 'S' | 'SH' | 'SR' | 'SW' | 'SU' | 'SRO' | 'SNW' | 'SNRW' | 'X' | 'IS' | 'IX'

const NAMES: readonly MetadataModeName[] = ['S', 'SH', 'SR', 'SW', 'SU', 'SRO', 'SNW', 'SNRW', 'X', 'IS', 'IX']

export function metadataModeName(lock: MetadataLock): MetadataModeName {
  return NAMES[lock]
}

/** How long a metadata lock is held: to the end of the statement, of the transaction, or until it is given back. */
export const enum Duration {
  Statement = 0,
  Transaction = 1,
  Explicit = 2,
}

/** Columns of the matrices of objects, as of each of their rows. */
const OBJECT_MODES = [
  MetadataLock.S,
  MetadataLock.SH,
  MetadataLock.SR,
  MetadataLock.SW,
  MetadataLock.SU,
  MetadataLock.SRO,
  MetadataLock.SNW,
  MetadataLock.SNRW,
  MetadataLock.X,
] as const
const SCOPE_MODES = [MetadataLock.IS, MetadataLock.IX, MetadataLock.S, MetadataLock.X] as const

/** For each request: mask of the modes that make it wait when others hold them. */
export const OBJECT_GRANTED: Uint16Array = matrix(OBJECT_MODES, [
  /*          S SH SR SW SU SRO SNW SNRW X */
  /* S    */ '+ +  +  +  +  +   +   +    -',
  /* SH   */ '+ +  +  +  +  +   +   +    -',
  /* SR   */ '+ +  +  +  +  +   +   -    -',
  /* SW   */ '+ +  +  +  +  -   -   -    -',
  /* SU   */ '+ +  +  +  -  +   -   -    -',
  /* SRO  */ '+ +  +  -  +  +   +   -    -',
  /* SNW  */ '+ +  +  -  -  +   -   -    -',
  /* SNRW */ '+ +  -  -  -  -   -   -    -',
  /* X    */ '- -  -  -  -  -   -   -    -',
])

/** The same for what others wait for. */
export const OBJECT_PENDING: Uint16Array = matrix(OBJECT_MODES, [
  /*          S SH SR SW SU SRO SNW SNRW X */
  /* S    */ '+ +  +  +  +  +   +   +    -',
  /* SH   */ '+ +  +  +  +  +   +   +    +',
  /* SR   */ '+ +  +  +  +  +   +   -    -',
  /* SW   */ '+ +  +  +  +  +   -   -    -',
  /* SU   */ '+ +  +  +  +  +   +   +    -',
  /* SRO  */ '+ +  +  -  +  +   +   -    -',
  /* SNW  */ '+ +  +  +  +  +   +   +    -',
  /* SNRW */ '+ +  +  +  +  +   +   +    -',
  /* X    */ '+ +  +  +  +  +   +   +    +',
])

export const SCOPE_GRANTED: Uint16Array = matrix(SCOPE_MODES, [
  /*        IS IX S X */
  /* IS */ '+  +  + +',
  /* IX */ '+  +  - -',
  /* S  */ '+  -  + -',
  /* X  */ '+  -  - -',
])

export const SCOPE_PENDING: Uint16Array = matrix(SCOPE_MODES, [
  /*        IS IX S X */
  /* IS */ '+  +  + +',
  /* IX */ '+  +  - -',
  /* S  */ '+  +  + -',
  /* X  */ '+  +  + +',
])

/** For each request on an object: mask of the modes any one of which, held by the requester, makes it superfluous (N4). */
export const OBJECT_SATISFIES: Uint16Array = satisfies(OBJECT_MODES, OBJECT_GRANTED)
export const SCOPE_SATISFIES: Uint16Array = satisfies(SCOPE_MODES, SCOPE_GRANTED)

/** Masks of conflicts, from rows in which '-' is a conflict; rows and columns are of the same modes. */
function matrix(modes: readonly MetadataLock[], rows: readonly string[]): Uint16Array {
  const conflicts = new Uint16Array(METADATA_LOCKS)
  for (const [row, mode] of modes.entries()) {
    for (const [column, mark] of rows[row].split(/ +/).entries()) if (mark === '-') conflicts[mode] |= 1 << modes[column]
  }
  return conflicts
}

function satisfies(modes: readonly MetadataLock[], conflicts: Uint16Array): Uint16Array {
  const satisfied = new Uint16Array(METADATA_LOCKS)
  for (const wanted of modes) {
    for (const held of modes) if ((conflicts[held] & conflicts[wanted]) === conflicts[wanted]) satisfied[wanted] |= 1 << held
  }
  return satisfied
}
