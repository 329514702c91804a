// @ts-check
// One measurement: a fresh server, a fresh load, a warm-up, and what the server's CPU time was worth.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.mjs'
import { SUBJECTS } from './subjects.mjs'

const LOAD = new URL('./load.mjs', import.meta.url)
const SERVE = new URL('./serve.mjs', import.meta.url)

/** Milliseconds until what was closed is gone. */
const SETTLED = 300

/** What runs once for each tunnel is compiled late. */
const WARM_UP_OF_CYCLES = 2.5

/** @typedef {import('./subjects.mjs').Subject} Subject */
/** @typedef {import('./loads.mjs').Job} Job */

/**
 * `idle`: tunnels that are there beside the job.
 * @typedef {{ seconds: number, warmUpSeconds: number, pins: import('./child.mjs').Pins | undefined, packages: string, idle?: number }} Conditions
 */

/**
 * `perCpuSecond`: work for a second of the server's CPU time; of bytes, GiB. `perSecond`: by the clock. `serverCpu`, `loadCpu`: CPUs in use, 1
 * being one of them: a server below 0.9 was waiting, and then the clock says nothing. `residentKib`, `usedKib`: of one idle
 * tunnel, in the process as it is and in the heap without garbage.
 * @typedef {{
 *   perCpuSecond: number, perSecond: number, serverCpu: number, loadCpu: number, p50Microseconds: number, p99Microseconds: number,
 *   residentKib: number, usedKib: number
 * }} Figures
 */

/**
 * @param {Subject} subject @param {Job} job @param {Conditions} conditions
 * @returns {Promise<Figures>}
 * @throws Error when anything that came back is not what was sent, or a tunnel broke
 */
export async function measure(subject, job, conditions) {
  const { pins, packages } = conditions
  // The load reads as 'data' does, which costs it page faults where glibc gives memory back; servers are left as they are.
  const env = { MALLOC_TRIM_THRESHOLD_: String(2 ** 28) }
  const { child: load, ready } = await Child.start(LOAD, [], { cpus: pins?.load, env })
  try {
    const settings = { targetPorts: ready.targetPorts, packages: join(packages, 'package.json') }
    const args = [subject, JSON.stringify(settings)]
    const execArgv = ['--no-deprecation']
    const { child: server, ready: served } = await Child.start(SERVE, args, { cpus: pins?.server, execArgv })
    try {
      const { speaksSocks } = SUBJECTS[subject]
      const way = { serverPort: served.port, targetPorts: ready.targetPorts, speaksSocks }
      const figures = await (job.kind === 'idle' ? weigh : time)(server, load, way, job, conditions)
      const errors = await load.ask('stop')
      if (errors.length > 0) throw new Error(`${errors.length} failures, the first: ${errors[0]}`)
      return figures
    } finally {
      await server.end()
    }
  } finally {
    await load.end()
  }
}

/**
 * @typedef {import('./tunnel.mjs').Way} Way
 * @param {Child} server @param {Child} load @param {Way} way @param {Job} job @param {Conditions} conditions @returns {Promise<Figures>}
 */
async function time(server, load, way, job, { seconds, warmUpSeconds, idle = 0 }) {
  if (idle > 0) await load.ask('start', { job: { kind: 'idle', count: idle }, way })
  await load.ask('start', { job, way })
  await sleep(warmUpSeconds * (job.kind === 'cycles' ? WARM_UP_OF_CYCLES : 1) * 1_000)
  const look = () => Promise.all([server.ask('usage'), load.ask('mark')])
  const [serverBefore, loadBefore] = await look()
  await sleep(seconds * 1_000)
  const [serverAfter, loadAfter] = await look()
  const unit = job.kind.startsWith('bulk') ? 2 ** 30 : 1
  const perSecond = (loadAfter.work - loadBefore.work) / unit / (loadAfter.atSeconds - loadBefore.atSeconds)
  // Each by its own clock: the two answers are not of the same moment.
  const serverCpu = used(serverBefore, serverAfter)
  return {
    perCpuSecond: perSecond / serverCpu,
    perSecond,
    serverCpu,
    loadCpu: used(loadBefore, loadAfter),
    p50Microseconds: loadAfter.p50Microseconds,
    p99Microseconds: loadAfter.p99Microseconds,
    residentKib: Number.NaN,
    usedKib: Number.NaN,
  }
}

/** @param {Child} server @param {Child} load @param {Way} way @param {Job} job @param {Conditions} conditions @returns {Promise<Figures>} */
async function weigh(server, load, way, job, { seconds }) {
  // What the first connection loads and compiles is not the tunnels' own.
  await load.ask('warmUp', { way, count: 32 })
  await sleep(SETTLED)
  const empty = await server.ask('usageCollected')
  await load.ask('start', { job, way })
  await sleep(Math.min(1, seconds) * 1_000)
  const full = await server.ask('usage')
  const collected = await server.ask('usageCollected')
  const nothing = Number.NaN
  return {
    perCpuSecond: nothing,
    perSecond: nothing,
    serverCpu: nothing,
    loadCpu: nothing,
    p50Microseconds: nothing,
    p99Microseconds: nothing,
    residentKib: (full.residentBytes - empty.residentBytes) / 1024 / job.count,
    usedKib: (collected.usedBytes - empty.usedBytes) / 1024 / job.count,
  }
}

/** @typedef {{ cpuSeconds: number, atSeconds: number }} Usage @param {Usage} before @param {Usage} after */
function used(before, after) {
  return (after.cpuSeconds - before.cpuSeconds) / (after.atSeconds - before.atSeconds)
}
