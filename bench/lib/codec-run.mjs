// @ts-check
// The process in which the codec is measured: checks each case, then times it, then weighs what it allocates.
import { strict as assert } from 'node:assert'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { answer } from './child.mjs'
import { HANDSHAKES } from './handshakes.mjs'
import { MESSAGES } from './messages.mjs'

/** @typedef {{ name: string, kind: 'decode' | 'encode' | 'handshake', run: () => unknown }} Case */
/** @typedef {{ name: string, kind: Case['kind'], nanoseconds: number, bytes: number }} Result */

/** All cases, with their results checked. @returns {Case[]} */
function cases() {
  const messages = MESSAGES.flatMap(({ name, hex, values, encode, decode }) => {
    const encoded = values.map((value) => Buffer.from(encode(value)))
    assert.equal(encoded[0]?.toString('hex'), hex, `encode ${name}`)
    for (const [index, value] of values.entries()) {
      const bytes = /** @type {Buffer} */ (encoded[index])
      const decoded = decode(bytes)
      assert.equal(decoded?.bytesRead, bytes.length, `decode ${name}`)
      assert.deepEqual(plain(decoded?.value), plain(value), `decode ${name}`)
    }
    return [
      { name, kind: /** @type {const} */ ('decode'), run: inTurns(encoded, decode) },
      { name, kind: /** @type {const} */ ('encode'), run: inTurns(values, encode) },
    ]
  })
  const handshakes = HANDSHAKES.map(({ name, hex, run }) => {
    assert.equal(Buffer.concat(run()).toString('hex'), hex, `handshake ${name}`)
    return { name, kind: /** @type {const} */ ('handshake'), run }
  })
  return [...messages, ...handshakes]
}

/** Bytes as hex, so that a Buffer is equal to a Uint8Array of the same bytes. @param {unknown} value */
function plain(value) {
  return JSON.parse(
    JSON.stringify(value, (_key, field) => (ArrayBuffer.isView(field) ? hexOf(field) : jsonOfBuffer(field))),
  )
}

/** A Buffer has been turned to JSON before a replacer sees it. @param {any} field */
function jsonOfBuffer(field) {
  return field?.type === 'Buffer' && Array.isArray(field.data) ? Buffer.from(field.data).toString('hex') : field
}

/** @param {ArrayBufferView} view */
function hexOf({ buffer, byteOffset, byteLength }) {
  return Buffer.from(buffer, byteOffset, byteLength).toString('hex')
}

/** @template T @param {readonly T[]} inputs a power of two of them @param {(input: T) => unknown} operation */
function inTurns(inputs, operation) {
  let turn = 0
  return () => operation(/** @type {T} */ (inputs[turn++ & (inputs.length - 1)]))
}

let sink = /** @type {unknown} */ (undefined)

/** Nanoseconds of one call: mitata's median where mitata is there, else of batches of 4096. @param {string | undefined} packages @param {number} seconds */
async function stopwatch(packages, seconds) {
  if (packages === undefined) return (/** @type {() => unknown} */ run) => plainMedian(run, seconds)
  const mitata = await import(pathToFileURL(createRequire(packages).resolve('mitata')).href)
  return async (/** @type {() => unknown} */ run) => {
    const { p50 } = await mitata.measure(() => mitata.do_not_optimize(run()), { min_cpu_time: seconds * 1e9 })
    return Number(p50)
  }
}

/** @param {() => unknown} run @param {number} seconds */
function plainMedian(run, seconds) {
  const batch = 4_096
  const samples = []
  const end = performance.now() + seconds * 1_000
  while (samples.length < 5 || performance.now() < end) {
    const begin = performance.now()
    for (let call = 0; call < batch; call++) sink = run()
    samples.push(((performance.now() - begin) * 1e6) / batch)
  }
  return samples.sort((a, b) => a - b)[samples.length >> 1] ?? Number.NaN
}

/**
 * Bytes that one call allocates, in the heap and beside it (typed arrays over 64 bytes): what the process has more, without a collection between.
 * @param {() => unknown} run
 */
function allocated(run) {
  // Few enough that the young generation holds them all.
  const calls = 100
  const samples = []
  for (let round = 0; round < 15; round++) {
    gc?.()
    const empty = inUse()
    const before = inUse()
    for (let call = 0; call < calls; call++) sink = run()
    // To look costs memory, too.
    samples.push((inUse() - before - (before - empty)) / calls)
  }
  return Math.round(samples.sort((a, b) => a - b)[samples.length >> 1] ?? Number.NaN)
}

function inUse() {
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

answer(
  {
    /** @param {{ packages: string | undefined, seconds: number, only: string, backwards: boolean }} argument */
    async measure({ packages, seconds, only, backwards }) {
      const nanosecondsOf = await stopwatch(packages, seconds)
      const chosen = cases().filter(({ kind, name }) => `${kind} ${name}`.includes(only))
      // All at first, so that the compiler knows as little about the last as about the first.
      for (const { run } of chosen) for (let call = 0; call < 1_000; call++) sink = run()
      /** @type {Result[]} */
      const results = []
      for (const { name, kind, run } of backwards ? chosen.reverse() : chosen) {
        const nanoseconds = await nanosecondsOf(run)
        results.push({ name, kind, nanoseconds, bytes: allocated(run) })
      }
      if (sink === results) throw new Error('never')
      return results
    },
  },
  {},
)
