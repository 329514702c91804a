// @ts-check
// `npm run bench [-- NAME...] [-- --quick]`: installs what the benches need, and runs them one after another. Needs a build.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const RESULTS = 'bench/results'

/** @type {Record<string, { readonly what: string, readonly args: readonly string[], readonly draws: boolean, readonly minutes: number }>} */
const BENCHES = {
  relay: {
    what: 'bulk, handshakes, round trips and memory, beside a bare relay and two other servers',
    args: ['bench/relay.mjs'],
    draws: true,
    minutes: 8,
  },
  scale: {
    what: 'the same cost with 100 to 5,000 tunnels, and with 1 to 256 streams',
    args: ['bench/relay.mjs', '--scale'],
    draws: true,
    minutes: 11,
  },
  codec: {
    what: 'every message and whole handshakes: time and memory',
    args: ['bench/codec.mjs'],
    draws: false,
    minutes: 1,
  },
  udp: { what: 'datagrams, beside bare forwarders', args: ['bench/udp.mjs'], draws: false, minutes: 2 },
}

const HELP = `usage: npm run bench [-- NAME...] [-- --quick]

${Object.entries(BENCHES)
  .map(([name, { what, minutes }]) => `  ${name.padEnd(8)}${what}; about ${minutes} min`)
  .join('\n')}

Without a name all of them. --quick: about 3 minutes for all, figures to look at and no verdict. Results go to ${RESULTS}/
(JSON, and drawings as SVG). Each can be run alone with options of its own: node bench/relay.mjs --help. On a machine that does
other things compare ratios only.`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { help: { type: 'boolean', short: 'h' }, quick: { type: 'boolean', default: false } },
})
const names = positionals.length > 0 ? positionals : Object.keys(BENCHES)
const unknown = names.filter((name) => !Object.hasOwn(BENCHES, name))
if (values.help) console.log(HELP)
else if (unknown.length > 0) {
  console.error(`there is no bench of the name ${unknown.join(', ')}\n\n${HELP}`)
  process.exitCode = 2
} else process.exitCode = benchAll()

/** Installs and runs; returns the exit code. */
function benchAll() {
  if (!existsSync(`${root}bench/packages/node_modules`)) {
    console.log('== installing, into bench/packages alone: two servers to compare with, and mitata')
    const install = [
      'install',
      '--prefix',
      'bench/packages',
      '--ignore-scripts',
      '--no-package-lock',
      '--no-audit',
      '--no-fund',
    ]
    if (run('npm', install) !== 0) console.error('without them: the benches leave out what is missing, and say so')
  }
  const minutes = names.reduce((sum, name) => sum + (BENCHES[name]?.minutes ?? 0), 0)
  console.log(
    `== ${names.join(', ')}: ${values.quick ? 'a few minutes' : `about ${minutes} minutes`}, results in ${RESULTS}/`,
  )
  let failures = 0
  for (const [index, name] of names.entries()) {
    const { what = '', args = [], draws = false } = BENCHES[name] ?? {}
    console.log(`\n== ${index + 1} of ${names.length}, ${name}: ${what}`)
    const drawing = draws ? ['--svg', `${RESULTS}/${name}.svg`] : []
    const quick = values.quick ? ['--quick'] : []
    const line = [...args, ...quick, '--json', `${RESULTS}/${name}.json`, ...drawing]
    console.log(`   alone: node ${line.join(' ')}`)
    if (run(process.execPath, line) !== 0) failures++
  }
  return failures === 0 ? 0 : 1
}

/** @param {string} command @param {readonly string[]} args */
function run(command, args) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32' && command === 'npm',
  })
  if (error) console.error(error.message)
  return status ?? 1
}
