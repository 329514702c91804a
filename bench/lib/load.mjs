// @ts-check
// The process that does the work of clients, with the targets in a thread of its own.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { answer } from './child.mjs'
import { createLoad } from './loads.mjs'

const worker = new Worker(new URL('./targets.mjs', import.meta.url))
const [{ value: targetPorts }] = await once(worker, 'message')

/** @type {Map<string, (value: any) => void>} */
const waiting = new Map()
worker.on('message', ({ name, value }) => {
  waiting.get(name)?.(value)
  waiting.delete(name)
})

/** @param {string} name @returns {Promise<any>} */
function askTargets(name) {
  return new Promise((resolve) => {
    waiting.set(name, resolve)
    worker.postMessage(name)
  })
}

/** The last one is what is measured; others are under it. @type {import('./loads.mjs').Load[]} */
const loads = []

answer(
  {
    /** @param {{ job: import('./loads.mjs').Job, way: import('./tunnel.mjs').Way }} argument */
    async start({ job, way }) {
      const load = createLoad(job, way, askTargets)
      loads.push(load)
      await load.start()
      if (load.errors.length > 0) throw new Error(`the load did not begin: ${load.errors[0]}`)
    },
    /** A few tunnels, there and gone again. @param {{ way: import('./tunnel.mjs').Way, count: number }} argument */
    async warmUp({ way, count }) {
      const load = createLoad({ kind: 'idle', count }, way, askTargets)
      await load.start()
      await load.stop()
      if (load.errors.length > 0) throw new Error(load.errors[0])
    },
    /** Work so far, and what has happened since the last mark. */
    async mark() {
      const load = loads.at(-1)
      const { user, system } = process.cpuUsage()
      return {
        work: await load?.work(),
        ...load?.samples.take(),
        cpuSeconds: (user + system) / 1e6,
        atSeconds: performance.now() / 1e3,
      }
    },
    /** Resolves to what went wrong since the beginning. */
    async stop() {
      for (const load of [...loads].reverse()) await load.stop()
      return loads.flatMap(({ errors }) => errors)
    },
  },
  { targetPorts },
)
