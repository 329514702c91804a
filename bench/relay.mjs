// @ts-check
// What the relay costs, beside a bare relay and other servers: `npm run build && node bench/relay.mjs --help`.
import { parseArgs } from 'node:util'
import { pins as findPins } from './lib/child.mjs'
import { modesOf, runModes } from './lib/modes.mjs'
import { circumstances, numberOf, progress, save, saveJson, writtenCircumstances } from './lib/report.mjs'
import { assertDescriptors, subjectsOf } from './lib/rounds.mjs'
import { runScale } from './lib/scale.mjs'
import { PACKAGES } from './lib/subjects.mjs'

const HELP = `usage: node bench/relay.mjs [options]

Work per second of CPU time of the server, which runs in a process of its own, fresh for each measurement; the load (clients, and
targets in a thread) in another. Servers take turns, so compare ratios, which are taken round by round. All bytes are checked. Where
"server CPU" is below 90 %, the server was waiting for the load, and its rate by the clock says nothing. tubesock
is createSocksServer() with its defaults, from dist/; the floor is net.createServer and pipe to a fixed target, without SOCKS.

  --servers LIST    tubesock,floor,socksv5,pondwader  [all these; with --scale: tubesock,floor]; and plain, which is
                    tubesock with fastRelay: false
  --modes LIST      bulk-down,bulk-up,cycles,ping-pong,ping-pong-64,idle  [all]
                    bulk: 4 streams. cycles: connect, one byte each way, close, 32 at a time. ping-pong: 64 bytes there and
                    back, on 1 or 64 tunnels. idle: resident memory of the process for each open tunnel
  --scale           instead: a cycle and the memory of a tunnel beside 100, 1,000 and 5,000 open ones, bulk in 1 to 256 streams
  --rounds N        [5; --quick: 2]
  --seconds N       of each measurement, after the warm-up  [2; --quick: 0.5]
  --warm-up N       seconds before it, for cycles 2.5 times that  [1; --quick: 0.4]
  --tunnels N       of idle, and the most of --scale  [3000 and 5000; --quick: 1000]
  --quick           a look, no verdict
  --no-pin          by default, where taskset is there, the server has the first CPU to itself and the load the others
  --json FILE       every measurement, and what was made of them
  --svg FILE        a drawing of it
  --packages DIR    where the packages of other servers are installed  [bench/packages]

Exit code 1: something came back that was not sent, or a tunnel broke.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', short: 'h' },
    servers: { type: 'string' },
    modes: { type: 'string' },
    scale: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    'warm-up': { type: 'string' },
    tunnels: { type: 'string' },
    quick: { type: 'boolean', default: false },
    'no-pin': { type: 'boolean', default: false },
    json: { type: 'string' },
    svg: { type: 'string' },
    packages: { type: 'string', default: PACKAGES },
  },
})

async function main() {
  const { quick, scale, packages } = values
  const subjects = subjectsOf(
    values.servers ?? (scale ? 'tubesock,floor' : 'tubesock,floor,socksv5,pondwader'),
    packages,
  )
  const rounds = numberOf(values.rounds, quick ? 2 : 5, '--rounds', { min: 1, max: 1_000 })
  const tunnels = numberOf(values.tunnels, quick ? 1_000 : scale ? 5_000 : 3_000, '--tunnels', { min: 1, max: 30_000 })
  const conditions = {
    seconds: numberOf(values.seconds, quick ? 0.5 : 2, '--seconds', { min: 0.05, max: 3_600 }),
    warmUpSeconds: numberOf(values['warm-up'], quick ? 0.4 : 1, '--warm-up', { min: 0, max: 600 }),
    pins: values['no-pin'] ? undefined : findPins(),
    packages,
  }
  assertDescriptors(tunnels)
  const told = circumstances()
  progress(writtenCircumstances(told))
  const { pins } = conditions
  progress(pins ? `server on CPU ${pins.server}, load on ${pins.load}` : 'not pinned to CPUs')
  const plan = { subjects, rounds, tunnels, ...conditions, packages: undefined, quick }
  const outcome = await (scale
    ? runScale(plan, conditions)
    : runModes(plan, conditions, modesOf(values.modes, tunnels)))
  if (values.json) saveJson(values.json, { ...told, plan, ...outcome.result })
  const subtitle = [
    writtenCircumstances(told),
    `${rounds === 1 ? '1 round' : `${rounds} rounds`} of ${conditions.seconds} s, median with least and most`,
  ]
  if (values.svg) save(values.svg, outcome.draw(subtitle))
  const failures = outcome.rows.filter(({ failure }) => failure !== undefined)
  for (const { subject, task, failure } of failures) console.error(`FAILED: ${subject} ${task}: ${failure}`)
  if (failures.length > 0) process.exitCode = 1
}

if (values.help) console.log(HELP)
else await main()
