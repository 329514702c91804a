// @ts-check
// What every bench tells in the same way.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { dirname } from 'node:path'

const MANIFEST = new URL('../../package.json', import.meta.url)

/** The machine and the versions: without them figures mean nothing. */
export function circumstances() {
  const models = [...new Set(cpus().map(({ model }) => model.trim()))]
  return {
    date: new Date().toISOString(),
    tubesock: String(JSON.parse(readFileSync(MANIFEST, 'utf8')).version),
    node: process.version,
    platform: `${process.platform} ${release()} ${process.arch}`,
    cpus: `${cpus().length} x ${models.join(', ') || 'unknown'}`,
    memoryGib: Number((totalmem() / 2 ** 30).toFixed(1)),
  }
}

/** One line of it. @param {ReturnType<typeof circumstances>} told */
export function writtenCircumstances({ tubesock, node, platform, cpus: processors, memoryGib }) {
  return `tubesock ${tubesock}, node ${node}, ${platform}, ${processors}, ${memoryGib} GiB`
}

/** Tells how far it is, on stderr, so that stdout holds the results alone. @param {string} line */
export function progress(line) {
  console.error(line)
}

/** @param {string} title @param {readonly string[]} head @param {readonly (readonly string[])[]} rows */
export function printTable(title, head, rows) {
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)))
  console.log(`\n${title}`)
  for (const row of [head, ...rows]) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
    )
    console.log(`  ${cells.join('  ')}`.trimEnd())
  }
}

/** Writes a file, folders included, and says so. @param {string} file @param {string} content */
export function save(file, content) {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, content)
  console.log(`\nwritten: ${file}`)
}

/** @param {string} file @param {unknown} value */
export function saveJson(file, value) {
  save(file, `${JSON.stringify(value, null, 2)}\n`)
}

/**
 * The value of an option that is a number. @param {string | undefined} text @param {number} otherwise @param {string} option
 * @param {{ min: number, max: number }} range
 */
export function numberOf(text, otherwise, option, { min, max }) {
  const value = text === undefined ? otherwise : Number(text)
  if (!(value >= min && value <= max)) usageError(`${option} takes a number from ${min} to ${max}`)
  return value
}

/** @param {string} message @returns {never} */
export function usageError(message) {
  console.error(`${message}; see --help`)
  process.exit(2)
}
