// @ts-check
// What messages cost: `npm run build && node bench/codec.mjs --help`.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Child } from './lib/child.mjs'
import {
  circumstances,
  numberOf,
  printTable,
  progress,
  saveJson,
  usageError,
  writtenCircumstances,
} from './lib/report.mjs'
import { summary, written, writtenSummary } from './lib/statistics.mjs'
import { INSTALL, installedVersion, PACKAGES } from './lib/subjects.mjs'

const HELP = `usage: node bench/codec.mjs [options]

Nanoseconds and allocated bytes for every message that tubesock/codec encodes and decodes, and for whole handshakes of its sessions.
Every result is checked before it is timed. Several rounds, each in a fresh process, measured by mitata where that is installed.

  --rounds N        [5; --quick: 2]
  --seconds N       for each case  [0.2; --quick: 0.02]
  --only TEXT       cases whose name has it, such as "decode" or "UDP"
  --quick           a look, no verdict
  --json FILE       the results
  --packages DIR    where mitata is installed  [bench/packages]`

// What a server decodes for each tunnel and a relay for each datagram.
const FIRST = [
  'CONNECT request, IPv4',
  'CONNECT request, name',
  'UDP datagram of 512 bytes, IPv4',
  'UDP datagram of 512 bytes, name',
]

const RUN = new URL('./lib/codec-run.mjs', import.meta.url)

/** @typedef {import('./lib/codec-run.mjs').Result} Result */
/** @typedef {{ kind: Result['kind'], name: string, nanoseconds: import('./lib/statistics.mjs').Summary, bytes: number }} Row */

async function main() {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string', default: '' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      packages: { type: 'string', default: PACKAGES },
    },
  })
  if (values.help) return console.log(HELP)
  const { quick, only, packages } = values
  const rounds = numberOf(values.rounds, quick ? 2 : 5, '--rounds', { min: 1, max: 1_000 })
  const seconds = numberOf(values.seconds, quick ? 0.02 : 0.2, '--seconds', { min: 0.001, max: 60 })
  const mitata = installedVersion('mitata', packages)
  const told = circumstances()
  progress(writtenCircumstances(told))
  progress(mitata ? `measured by mitata ${mitata}` : `mitata is missing, so by a plain loop; to have it: ${INSTALL}`)
  /** @type {Result[][]} */
  const measured = []
  for (let round = 0; round < rounds; round++) {
    const manifest = mitata === undefined ? undefined : join(packages, 'package.json')
    measured.push(await measureOnce({ packages: manifest, seconds, only, backwards: round % 2 === 1 }))
    progress(`${round + 1}/${rounds} rounds`)
  }
  const rows = rowsOf(measured)
  if (rows.length === 0) usageError(`no case has ${only} in its name`)
  print(rows)
  if (values.json) saveJson(values.json, { ...told, plan: { rounds, seconds, only, mitata }, rows })
}

/** @param {object} argument @returns {Promise<Result[]>} */
async function measureOnce(argument) {
  const { child } = await Child.start(RUN, [], { execArgv: ['--expose-gc'] })
  try {
    return await child.ask('measure', argument)
  } finally {
    await child.end()
  }
}

/** @param {readonly Result[][]} measured @returns {Row[]} */
function rowsOf(measured) {
  const [first = []] = measured
  return first.map(({ kind, name }) => {
    const same = measured.flatMap((round) => round.filter((result) => result.kind === kind && result.name === name))
    return {
      kind,
      name,
      nanoseconds: summary(same.map(({ nanoseconds }) => nanoseconds)),
      bytes: summary(same.map(({ bytes }) => bytes)).median,
    }
  })
}

/** @param {readonly Row[]} rows */
function print(rows) {
  const [decode, encode, handshake] = /** @type {const} */ (['decode', 'encode', 'handshake']).map((kind) =>
    rows.filter((row) => row.kind === kind),
  )
  for (const name of FIRST) {
    const row = decode?.find((one) => one.name === name)
    if (row) console.log(`decode ${name}, whole: ${written(row.nanoseconds.median)} ns, ${row.bytes} bytes allocated`)
  }
  const head = ['', 'ns, median (least to most)', 'bytes allocated']
  for (const [title, part] of /** @type {const} */ ([
    ['decode', decode],
    ['encode', encode],
    ['whole handshakes', handshake],
  ])) {
    const lines = part?.map(({ name, nanoseconds, bytes }) => [name, writtenSummary(nanoseconds), written(bytes)]) ?? []
    if (lines.length > 0) printTable(title, head, lines)
  }
}

await main()
