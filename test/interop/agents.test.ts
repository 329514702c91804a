import type { RequestListener } from 'node:http'
import type { LookupFunction } from 'node:net'
import { describe, expect, it } from 'vitest'
import { SocksAgent } from '../../src/client/agent.js'
import { socksConnector } from '../../src/client/connector.js'
import { userPass } from '../../src/server/index.js'
import { CERTIFICATE } from '../client/certificate.js'
import { fetchText, startHttp } from '../client/http-target.js'
import { builtIn, type Undici, undicis } from '../client/undici.js'
import { cleanup, startServer } from '../support/servers.js'

const REQUESTS = 1_000
const AT_ONCE = 20
const MAX_SOCKETS = 4

/** Written one after the other, user and password of both are the same text. */
const identities = { 'a:b': 'a%3Ab:c', a: 'a:b%3Ac' }

const lookup: LookupFunction = (_host, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }])

/** One way to make requests: given a proxy, a function that sends one. */
interface Way {
  readonly name: string
  readonly open: (proxy: string) => (url: string, headers: Record<string, string>) => Promise<string>
}

const agentWay = (name: string): Way => ({
  name,
  open: (proxy) => {
    const agent = new SocksAgent(proxy, { keepAlive: true, maxSockets: MAX_SOCKETS, ca: CERTIFICATE })
    cleanup(() => agent.destroy())
    return (url, headers) => fetchText(url, { agent, headers })
  },
})

const fetchWay = (name: string, { Agent, fetch }: Undici): Way => ({
  name,
  open: (proxy) => {
    const dispatcher = new Agent({ connect: socksConnector(proxy, { ca: CERTIFICATE }), connections: MAX_SOCKETS })
    cleanup(() => dispatcher.destroy())
    return async (url, headers) => (await fetch(url, { dispatcher, headers })).text()
  },
})

const ways = [
  agentWay('http and https'),
  fetchWay(`fetch of Node ${process.versions.node.split('.')[0]}`, builtIn()),
  ...undicis.map(({ major, undici }) => fetchWay(`fetch of undici ${major}`, undici)),
]

describe.each(ways)('$name', ({ open }) => {
  it.each(['http', 'https'])(
    `C134 ${REQUESTS} requests by %s: sockets are reused, and never cross credentials or origins`,
    async (scheme) => {
      // Which identity the proxy has opened each connection for, by the port that the target sees.
      const owners = new Map<number, string>()
      const crossed: unknown[] = []
      const listener: RequestListener = ({ socket, headers }, response) => {
        const owner = owners.get(socket.remotePort ?? 0)
        if (owner !== headers['x-identity']) crossed.push({ owner, ...headers })
        response.end(`${headers.host} ${headers['x-number']}`)
      }
      const targets = [1, 2].map(() => startHttp(listener, { secure: scheme === 'https' }))
      const origins = (await Promise.all(targets)).map(({ port }) => `target.example:${port}`)
      const { server, port } = await startServer({ auth: userPass(() => true), lookup })
      const opened: string[] = []
      server.on('established', ({ identity, destination, bound }) => {
        const user = String(identity.username)
        owners.set(bound.port, user)
        opened.push(`${user} ${destination.host}:${destination.port}`)
      })
      const senders = Object.entries(identities).map(
        ([user, userinfo]) => [user, open(`socks5h://${userinfo}@127.0.0.1:${port}`)] as const,
      )

      let sent = 0
      const worker = async (): Promise<void> => {
        while (sent < REQUESTS) {
          const number = sent++
          // Each pair of an identity and an origin in turn.
          const [user, send] = senders[number % 2] ?? never()
          const origin = origins[(number >> 1) % 2]
          const headers = { 'x-identity': user, 'x-number': String(number) }
          expect(await send(`${scheme}://${origin}/`, headers)).toBe(`${origin} ${number}`)
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, worker))

      expect(crossed).toEqual([])
      const pairs = Object.keys(identities).flatMap((user) => origins.map((origin) => `${user} ${origin}`))
      const counts = pairs.map((pair) => opened.filter((entry) => entry === pair).length)
      expect(counts.reduce((sum, count) => sum + count)).toBe(opened.length)
      for (const count of counts) {
        expect(count).toBeGreaterThan(0)
        expect(count).toBeLessThanOrEqual(MAX_SOCKETS)
      }
    },
  )
})

function never(): never {
  throw new Error('there are two')
}
