// @ts-check
// `npm run soak [-- NAME...] [-- --runs N --seed N]`: the volumes that take longer than a build should.
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

/**
 * A soak program does `runs` of something that `seed` makes repeatable, and throws when one fails.
 * @typedef {(options: { runs: number, seed: number }) => Promise<unknown>} Soak
 */

/** @type {Record<string, { readonly file: string, readonly name: string, readonly runs: number, readonly parts?: number }>} */
const PROGRAMS = {
  codec: { file: 'test/soak/codec.soak.ts', name: 'soakCodec', runs: 100_000 },
  // A run is a second.
  relay: { file: 'test/soak/relay.soak.ts', name: 'soakRelay', runs: 600 },
  'udp-relay': { file: 'test/soak/udp-relay.soak.ts', name: 'soakUdpRelay', runs: 1_000_000 },
  'udp-associations': { file: 'test/soak/udp.soak.ts', name: 'soakUdpAssociations', runs: 10_000, parts: 1 },
  'udp-datagrams': { file: 'test/soak/udp.soak.ts', name: 'soakUdpDatagrams', runs: 1_000_000 },
}

/** Progress is told after each part, of which a program may want fewer, to see more at once. Every part has a seed of its own, so that one can be repeated alone. */
const PARTS = 20

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * Node 20 runs no TypeScript: the program is bundled to where its packages resolve.
 * @param {string} file
 * @returns {Promise<Record<string, Soak>>}
 */
async function load(file) {
  // esbuild comes with tsup.
  const { build } = createRequire(createRequire(import.meta.url).resolve('tsup'))('esbuild')
  const outfile = join(root, 'node_modules', '.cache', 'tubesock', file.replace(/\.ts$/, '.mjs'))
  mkdirSync(dirname(outfile), { recursive: true })
  await build({
    entryPoints: [join(root, file)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    sourcemap: 'inline',
    logLevel: 'warning',
  })
  return import(pathToFileURL(outfile).href)
}

/** @param {string} label @param {Soak} soak @param {number} runs @param {number} firstSeed @param {number | undefined} parts */
async function repeat(label, soak, runs, firstSeed, parts = PARTS) {
  const start = performance.now()
  let done = 0
  for (let part = 0; done < runs; part++) {
    const count = Math.min(Math.ceil(runs / parts), runs - done)
    const seed = firstSeed + part
    try {
      await soak({ runs: count, seed })
    } catch (error) {
      console.error(`${label}: failed; repeat with npm run soak -- ${label} --runs ${count} --seed ${seed}`)
      throw error
    }
    done += count
    const seconds = (performance.now() - start) / 1000
    console.log(
      `${label}: ${done} of ${runs} runs, ${seconds.toFixed(1)} s, ${Math.round(done / seconds)} runs/s, seed ${seed}`,
    )
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string' }, seed: { type: 'string' } },
})
const names = positionals.length > 0 ? positionals : Object.keys(PROGRAMS)
const seed = numberOf('seed', Math.floor(Math.random() * 0x4000_0000))
for (const name of names) {
  const program = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined
  if (program === undefined) throw new Error(`no soak program ${name}; there are: ${Object.keys(PROGRAMS).join(', ')}`)
  const soak = (await load(program.file))[program.name]
  if (soak === undefined) throw new Error(`${program.file} exports no ${program.name}`)
  await repeat(name, soak, numberOf('runs', program.runs), seed, program.parts)
}
console.log(`soak: ${names.length} passed, 0 failed`)

/** @param {'runs' | 'seed'} option @param {number} fallback */
function numberOf(option, fallback) {
  const number = Number(values[option] ?? fallback)
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`--${option} takes a positive integer`)
  return number
}
