/**
 * A bank of a few accounts. A transfer withdraws from one, waits, deposits in another, and enters itself in a ledger, all in one
 * transaction: so whatever survives, the balances must be what the ledger says.
 *
 * @typedef {{ id: number, owner: string, balance: number }} Account
 * @typedef {{ id: number, from: number, to: number, amount: number }} Transfer
 */

export const accountCount = 200
export const initialBalance = 1000
export const expectedSum = accountCount * initialBalance

/** @param {import('nextkey').Database} db */
export async function openBank(db) {
  return {
    /** @type {import('nextkey').Table<Account>} */
    accounts: await db.table('accounts', { key: 'id', indexes: { owner: { on: 'owner', unique: true } } }),
    /** @type {import('nextkey').Table<Transfer>} */
    ledger: await db.table('ledger', { key: 'id', autoIncrement: true, indexes: { from: { on: 'from' }, to: { on: 'to' } } }),
  }
}

/** @typedef {Awaited<ReturnType<typeof openBank>>} Bank */

/** @param {Bank} bank */
export async function foundBank({ accounts }) {
  await accounts.insertMany(Array.from({ length: accountCount }, (_, id) => ({ id, owner: `owner ${id}`, balance: initialBalance })))
}

/**
 * One transfer between two accounts, `wait` awaited in the middle. An account that is being changed belongs to its transaction until the
 * end: another that wants it meets a conflict and is tried again. Returns the ledger entry's id and how many attempts it took.
 * @param {import('nextkey').Database} db
 * @param {Bank} bank
 * @param {{ from: number, to: number, amount: number }} order
 * @param {() => Promise<unknown>} wait
 */
export async function transfer(db, { accounts, ledger }, { from, to, amount }, wait) {
  let attempts = 0
  const id = await db.transaction(
    async (tx) => {
      attempts++
      await tx.update(accounts, from, (account) => ({ ...account, balance: account.balance - amount }))
      await wait()
      await tx.update(accounts, to, (account) => ({ ...account, balance: account.balance + amount }))
      return tx.insert(ledger, { from, to, amount })
    },
    { retries: 1000 },
  )
  return { id, attempts }
}

/** Two different accounts and a small amount, at random. */
export function randomOrder() {
  const from = Math.floor(Math.random() * accountCount)
  const to = (from + 1 + Math.floor(Math.random() * (accountCount - 1))) % accountCount
  return { from, to, amount: 1 + Math.floor(Math.random() * 20) }
}

/**
 * @param {Bank} bank
 * @returns {number} what all accounts hold together
 */
export function sumOfBalances({ accounts }) {
  let sum = 0
  for (const { balance } of accounts.values()) sum += balance
  return sum
}

/**
 * Accounts whose balance is not what the ledger's transfers make of it: a transfer that survived in part shows here.
 * @param {Bank} bank
 */
export function accountsOffTheLedger({ accounts, ledger }) {
  const balances = new Array(accountCount).fill(initialBalance)
  for (const { from, to, amount } of ledger.values()) {
    balances[from] -= amount
    balances[to] += amount
  }
  return [...accounts.values()].filter(({ id, balance }) => balance !== balances[id]).map(({ id }) => id)
}
