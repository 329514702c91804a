import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { SocksAgent } from '../../src/client/agent.js'
import { withProxy } from '../support/scripted-proxy.js'
import { startServer } from '../support/servers.js'
import { CERTIFICATE } from './certificate.js'
import { echo, startHttp } from './http-target.js'

/** A call that TypeScript would refuse. */
const call = (agent: SocksAgent, ...values: unknown[]): unknown => Reflect.apply(agent.createConnection, agent, values)

describe("createConnection with Node's own arguments", () => {
  it.each([
    ['a port and a host', (port: number) => [port, 'target.example'] as const],
    ['a port, a host and options', (port: number) => [port, 'target.example', { timeout: 0 }] as const],
    ['a port that is text', (port: number) => [String(port), 'target.example'] as const],
    ['a port, a host and a callback', (port: number) => [port, 'target.example', () => {}] as const],
    ['a port and options', (port: number) => [port, { host: 'target.example' }] as const],
  ])('goes where they say: %s', async (_name, values) => {
    const hops: unknown[] = []
    const { port } = await startServer({
      lookup: (_host, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]),
    })
    const target = await startHttp()
    const onHop = (hop: { readonly target: string }) => hops.push(hop.target)
    const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, {}, { onHop })
    // `as`: one of the overloads each.
    const stream = agent.createConnection(...(values(target.port) as [number, string]))
    stream.end('GET /own HTTP/1.0\r\n\r\n')
    expect(await text(stream)).toContain('GET /own')
    expect(hops).toEqual([`target.example:${target.port}`])
  })

  it('goes to this host where a port stands alone', async () => {
    const hops: unknown[] = []
    const { port } = await startServer()
    const onHop = (hop: { readonly target: string }) => hops.push(hop.target)
    const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, {}, { onHop })
    const stream = agent.createConnection(1)
    expect(await once(stream, 'error')).toMatchObject([{ target: 'localhost:1' }])
  })

  it('speaks TLS where the options say so', async () => {
    const target = await startHttp(echo, { secure: true })
    const { port } = await startServer()
    const agent = new SocksAgent(`socks5h://127.0.0.1:${port}`, { ca: CERTIFICATE })
    const stream = agent.createConnection(target.port, '127.0.0.1', { protocol: 'https:' })
    stream.end('GET /own HTTP/1.0\r\n\r\n')
    expect(await text(stream)).toContain('GET /own')
  })

  it.each([
    ['nothing', []],
    ['a path', ['/run/docker.sock']],
    ['a host before its port', ['target.example', 80]],
    ['null', [null]],
    ['a fraction', [80.5, 'target.example']],
  ])('throws for %s, and goes nowhere', async (_name, values) => {
    await withProxy(
      () => {},
      async (proxy) => {
        const agent = new SocksAgent(proxy.url())
        expect(() => call(agent, ...values)).toThrow(
          expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
        )
        expect(proxy.peers).toHaveLength(0)
      },
    )
  })
})
