import { expect, test } from 'vitest'
import { openTest } from '../support/open-test-database.js'

// Rows remember whether all their strings are ASCII (Flag.Ascii): what is read must never depend on it.

const PLAIN = 'plain text'
const OTHER = 'größer als 😀'

interface Row {
  id: number
  text: string
  filler?: string
}

test('strings come back whatever a row held before, through waits, rollbacks, snapshots and recovery', async () => {
  await using testDb = await openTest()
  const table = await testDb.db.table<Row>('rows', { key: 'id', indexes: { text: { on: ['text', 'id'] } } })
  const large = 'x'.repeat(100_000)
  const rows: Row[] = [
    { id: 1, text: PLAIN },
    { id: 2, text: OTHER },
    { id: 3, text: PLAIN, filler: large },
    { id: 4, text: OTHER, filler: large },
    { id: 5, text: PLAIN, filler: `${large}ü` },
  ]
  for (const row of rows) await table.put(row)
  const mustBe = (expected: Row[]): void => {
    for (const row of expected) expect(table.get(row.id)).toEqual(row)
    expect(Array.from(table.values())).toEqual(expected)
    expect(Array.from(table.index('text').values())).toEqual(
      [...expected].sort((a, b) => Buffer.compare(Buffer.from(a.text), Buffer.from(b.text)) || a.id - b.id),
    )
  }
  mustBe(rows)
  const before = testDb.db.snapshot()

  // The second of two writers waits with its row encoded, while the first encodes others.
  const first = await testDb.db.begin()
  const second = await testDb.db.begin()
  await first.put(table, { id: 1, text: OTHER })
  const waiting = second.put(table, { id: 1, text: `${OTHER}!` })
  await first.put(table, { id: 2, text: PLAIN })
  await first.rollback()
  await waiting
  await second.commit()
  await table.delete(3)
  await table.put({ id: 3, text: OTHER })
  await table.put({ id: 4, text: PLAIN })
  const after = [{ id: 1, text: `${OTHER}!` }, rows[1] as Row, { id: 3, text: OTHER }, { id: 4, text: PLAIN }, rows[4] as Row]
  mustBe(after)
  expect(Array.from(before.values(table))).toEqual(rows)
  before.close()

  // Recovery has it all from the log.
  await testDb.crash('torn')
  const recovered = await testDb.db.table<Row>('rows')
  expect(Array.from(recovered.values())).toEqual(after)
  expect(recovered.get(5)).toEqual(rows[4])
})
