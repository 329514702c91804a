// @ts-check
// The process that is measured: `serve.mjs NAME JSON`, on a free port of 127.0.0.1, as the first example of its README has it.
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { connect, createServer } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { answer } from './child.mjs'

const HOST = '127.0.0.1'

/** @typedef {{ targetPorts: number[], packages: string }} Settings `packages`: path of the manifest whose node_modules have the peers */

/** @type {Record<string, (settings: Settings) => Promise<number>>} */
const SERVERS = {
  async tubesock() {
    const { createSocksServer } = await import('tubesock/server')
    return (await createSocksServer().listen(0)).port
  },

  async plain() {
    const { createSocksServer } = await import('tubesock/server')
    return (await createSocksServer({ fastRelay: false }).listen(0)).port
  },

  // What any relay of node:net has to do: no SOCKS, targets that are known before.
  async floor({ targetPorts }) {
    let next = 0
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      const port = targetPorts[next++ % targetPorts.length] ?? 0
      const target = connect({ port, host: HOST, allowHalfOpen: true, noDelay: true })
      for (const socket of [client, target]) {
        socket.on('error', () => {
          client.destroy()
          target.destroy()
        })
      }
      client.pipe(target)
      target.pipe(client)
    })
    server.listen(0, HOST)
    return portOf(server)
  },

  async socksv5({ packages }) {
    const socks = createRequire(packages)('socksv5')
    const server = socks.createServer((/** @type {unknown} */ _request, /** @type {() => void} */ accept) => accept())
    server.useAuth(socks.auth.None())
    server.listen(0, HOST)
    return portOf(server)
  },

  async pondwader({ packages }) {
    const server = createRequire(packages)('@pondwader/socks5-server').createServer({})
    await new Promise((resolve) => server.listen(0, HOST, () => resolve(undefined)))
    // It has no word of its own for the port that it was given.
    return server.server.address().port
  },
}

/** @param {any} server @returns {Promise<number>} */
async function portOf(server) {
  if (server.address() == null) await once(server, 'listening')
  return server.address().port
}

/** What the process has used so far. */
function usage() {
  const { user, system } = process.cpuUsage()
  const { rss, heapUsed, external } = process.memoryUsage()
  return {
    cpuSeconds: (user + system) / 1e6,
    atSeconds: performance.now() / 1e3,
    residentBytes: rss,
    usedBytes: heapUsed + external,
  }
}

/** @type {(() => void) | undefined} */
let collect

/** Usage without garbage. Only then is the collector asked for: a server as its users run it has none to call. */
function usageCollected() {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc')
    collect = /** @type {() => void} */ (runInNewContext('gc'))
  }
  collect()
  collect()
  return usage()
}

const [, , name = '', settings = '{}'] = process.argv
const start = SERVERS[name]
if (start === undefined) throw new RangeError(`no server of the name ${name}`)
// A peer that throws from an event would end the run; its tunnels tell.
if (name === 'socksv5' || name === 'pondwader') process.on('uncaughtException', () => {})
answer({ usage, usageCollected }, { port: await start(JSON.parse(settings)) })
