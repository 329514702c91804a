import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import {
  type BindOptions,
  createSocksServer,
  customAuth,
  type ServerOptions,
  type UdpOptions,
} from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'
import { settlesAt } from '../support/descriptors.js'
import { connectRequest, GREETING_NO_AUTH, hex, RawClient } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'

/** A stream whose end fails in a way of its own. */
function badStream(how: 'throws' | 'errors'): Duplex {
  const [near] = duplexPair()
  if (how === 'throws') {
    near.destroy = () => {
      throw new Error('destroy')
    }
  } else near._destroy = (_error, callback) => callback(new Error('late'))
  return near
}

const THROWING = {
  get close(): never {
    throw new Error('close')
  },
}

// What a hook makes for a client that has left meanwhile, each of which fails to end.
const LATE: readonly (readonly [name: string, command: number, options: (late: Promise<unknown>) => object])[] = [
  ['bind.listen', 2, (late) => ({ commands: ['bind'], bind: { listen: () => late } })],
  ['udp.associate', 3, (late) => ({ commands: ['udp-associate'], udp: { associate: () => late } })],
  ['dial', 1, (late) => ({ dial: () => late })],
]

describe('a hook whose result comes too late and cannot be ended', () => {
  it.each(LATE)('%s ends nothing else', async (_name, command, options) => {
    for (const late of [THROWING, badStream('throws'), badStream('errors'), { stream: badStream('throws') }, 5, null]) {
      const asked = deferred()
      const result = deferred<unknown>()
      // `as`: a hook in plain JavaScript may return anything.
      const fixture = await startServer(options(result.promise) as ServerOptions)
      fixture.server.on('request', () => asked.resolve())
      const closing = fixture.closed()
      const client = await fixture.client()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('192.0.2.1', 80, command)]))
      await asked.promise
      client.reset()
      await closing
      result.resolve(late)
      await new Promise((resolve) => setImmediate(resolve))
    }
  })

  it('a peer that a listener elsewhere accepts too late', async () => {
    for (const socket of [{}, badStream('throws'), badStream('errors'), undefined]) {
      const accepting = deferred()
      const result = deferred<unknown>()
      const listen = () => ({
        address: { host: '192.0.2.1', port: 1 },
        accept: () => {
          accepting.resolve()
          return result.promise
        },
        close: () => {
          throw new Error('close')
        },
      })
      // `as`: a hook in plain JavaScript may return anything.
      const fixture = await startServer({ commands: ['bind'], bind: { listen } as unknown as BindOptions })
      const closing = fixture.closed()
      const client = await fixture.client()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('192.0.2.1', 80, 2)]))
      await accepting.promise
      client.reset()
      await closing
      result.resolve({ socket, peer: { host: '192.0.2.1', port: 1 } })
      await new Promise((resolve) => setImmediate(resolve))
    }
  })
})

describe('a hook that never settles', () => {
  it.each([
    ['bind.listen', 2, { commands: ['bind'], bind: { listen: () => new Promise<never>(() => {}) } }],
    ['udp.associate', 3, { commands: ['udp-associate'], udp: { associate: () => new Promise<never>(() => {}) } }],
  ] as const)(
    '%s is ended by dialTimeoutMs, also where the client has sent its FIN',
    async (_name, command, options) => {
      const fixture = await startServer({ ...options, dialTimeoutMs: 40 })
      const closing = fixture.closed()
      const client = await fixture.client()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('192.0.2.1', 80, command)]))
      client.end()
      expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0506')
      expect(await closing).toMatchObject({ reason: 'refused', error: { code: 'ERR_SOCKS_DIAL_TIMEOUT' } })
    },
  )
})

describe('a hook that tells what is no address', () => {
  it.each([
    ['a zone', { host: 'fe80::1%eth0', port: 1 }],
    ['no port', { host: '192.0.2.1' }],
    ['nothing', undefined],
    [
      'a throwing getter',
      {
        get host() {
          throw new Error('host')
        },
      },
    ],
  ])('%s: what it has made is ended, and it is told as a fault of the hook', async (_name, address) => {
    const close = vi.fn()
    // `as`: a hook in plain JavaScript may return anything.
    const elsewhere = { address, close, accept: () => new Promise<never>(() => {}) } as never
    for (const [command, options] of [
      [2, { commands: ['bind'], bind: { listen: () => elsewhere } as BindOptions }],
      [3, { commands: ['udp-associate'], udp: { associate: () => elsewhere } as UdpOptions }],
    ] as const) {
      close.mockClear()
      const fixture = await startServer(options)
      const client = await fixture.client()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('192.0.2.1', 80, command)]))
      client.end()
      expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0501')
      expect(close).toHaveBeenCalledTimes(1)
      expect(fixture.errors).toMatchObject([{ code: 'ERR_SOCKS_HOOK_FAILED' }])
    }
  })

  it('a zone in the address of a peer is taken off, and a dialed stream with a bound that throws is destroyed', async () => {
    const [near] = duplexPair()
    const accept = async () => ({ socket: near, peer: { host: 'fe80::1%eth0', port: 20 } })
    const listen = () => ({ address: { host: '192.0.2.1', port: 1 }, accept, close: () => {} })
    const fixture = await startServer({ commands: ['bind'], bind: { listen, peer: 'any' }, egress: () => true })
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('0.0.0.0', 0, 2)]))
    expect((await client.read(34)).slice(24)).toMatch(/^05000004fe80/)

    const [stream] = duplexPair()
    const result = {
      stream,
      get bound(): never {
        throw new Error('bound')
      },
    }
    const dialing = await startServer({ dial: () => result })
    const other = await dialing.client()
    other.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('192.0.2.1', 80)]))
    other.end()
    await other.readToEnd()
    expect(stream.destroyed).toBe(true)
  })
})

describe('a stream whose write throws', () => {
  it('takes its last answer badly, and nothing else with it', async () => {
    for (const say of [
      Buffer.from('GET / HTTP/1.0\r\n\r\n'),
      Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', 80, 9)]),
    ]) {
      const server = createSocksServer()
      cleanup(() => server.close({ graceMs: 0 }))
      const [near, far] = duplexPair()
      near._write = () => {
        throw new Error('write')
      }
      const client = new RawClient(far)
      server.handle(near)
      client.write(say)
      expect(await settlesAt(() => server.stats().connections, 0)).toBe(0)
    }
    const server = createSocksServer({ auth: customAuth(0x80, async (): Promise<false> => false) })
    cleanup(() => server.close({ graceMs: 0 }))
    const [near, far] = duplexPair()
    server.handle(near)
    new RawClient(far).write(hex('050180'))
    expect(await settlesAt(() => server.stats().connections, 0)).toBe(0)
  })
})
