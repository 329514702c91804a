import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import type { LookupFunction } from 'node:net'
import { describe, expect, it } from 'vitest'
import { SocksClient, type SocksClientOptions } from '../../src/client/client.js'
import { type Peer, type ScriptedProxy, SUCCESS, withProxy } from '../support/scripted-proxy.js'
import { failure, PASSWORD, rejection, USER } from './hygiene.js'

const COUNT = 200
const TARGET = { host: 'example.com', port: 443 }

/** Everything that one stage of the handshake is stalled with. */
interface Stall {
  readonly stage: string
  /** Whether the client gets as far as the proxy. Default `true`. */
  readonly connects?: boolean
  /** The proxy's part; calls `reached` when the client waits. */
  readonly script: (peer: Peer, reached: () => void) => Promise<void>
  readonly options: (proxy: ScriptedProxy, reached: () => void) => SocksClientOptions
}

const plain = (proxy: ScriptedProxy): SocksClientOptions => ({ proxy: proxy.url(`${USER}:${PASSWORD}`) })

/** A lookup that never answers. */
function stalled(reached: () => void): LookupFunction {
  return () => reached()
}

const stalls: readonly Stall[] = [
  {
    stage: 'the name of the proxy',
    connects: false,
    script: async () => {},
    options: (_proxy, reached) => ({ proxy: `socks5h://${USER}:${PASSWORD}@proxy.example`, lookup: stalled(reached) }),
  },
  {
    stage: 'TLS with the proxy',
    script: async (peer, reached) => {
      await peer.read(1)
      reached()
    },
    options: ({ port }) => ({ proxy: { host: '127.0.0.1', port, tls: true, username: USER, password: PASSWORD } }),
  },
  {
    stage: 'the name of the target',
    script: async () => {},
    options: (proxy, reached) => ({ proxy: proxy.url().replace('socks5h', 'socks5'), lookup: stalled(reached) }),
  },
  {
    stage: 'the method',
    script: async (peer, reached) => {
      await peer.expect('05 02 00 02')
      reached()
    },
    options: plain,
  },
  {
    stage: 'half a method',
    script: async (peer, reached) => {
      await peer.expect('05 02 00 02')
      peer.send('05')
      reached()
    },
    options: plain,
  },
  {
    stage: 'the status',
    script: async (peer, reached) => {
      await peer.greet(2)
      await peer.readCredentials()
      reached()
    },
    options: plain,
  },
  {
    stage: 'the reply',
    script: async (peer, reached) => {
      await peer.greet()
      await peer.readRequest()
      reached()
    },
    options: plain,
  },
  {
    stage: 'half a reply',
    script: async (peer, reached) => {
      await peer.greet()
      await peer.readRequest()
      peer.send(SUCCESS.subarray(0, 9))
      reached()
    },
    options: plain,
  },
  {
    stage: 'the second hop',
    script: async (peer, reached) => {
      await peer.greet()
      await peer.readRequest()
      peer.send(SUCCESS)
      await peer.greet()
      await peer.readRequest()
      reached()
    },
    options: (proxy) => ({ proxy: [proxy.url(), `socks5h://${USER}:${PASSWORD}@second.example`] }),
  },
]

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** Waits until the proxy has accepted every connection, the last of which may still be in its backlog, and seen it close. */
async function allClosed(proxy: ScriptedProxy, connects: boolean): Promise<void> {
  const peers = await proxy.connections(connects ? COUNT : 0)
  await Promise.all(peers.map(({ closed }) => closed))
}

/** Calls `resolve` once it was told `count` times. */
function counter(count: number): { readonly reached: () => void; readonly all: Promise<void> } {
  let left = count
  let done: () => void = () => {}
  const all = new Promise<void>((resolve) => {
    done = resolve
  })
  const reached = (): void => {
    left--
    if (left === 0) done()
  }
  return { reached, all }
}

describe.each(stalls)('C142 a proxy that stalls: $stage', ({ script, options, connects = true }) => {
  it(`${COUNT} aborts: each side closes, nothing is left open`, async () => {
    const { reached, all } = counter(COUNT)
    await withProxy(
      (peer) => script(peer, reached),
      async (proxy) => {
        const before = descriptors()
        const reason = { own: 'reason' }
        const aborters = Array.from({ length: COUNT }, () => new AbortController())
        const client = new SocksClient({ ...options(proxy, reached), timeoutMs: 0 })
        const attempts = aborters.map(({ signal }) => rejection(client.connect({ ...TARGET, signal })))
        await all
        for (const aborter of aborters) aborter.abort(reason)
        expect(new Set(await Promise.all(attempts))).toEqual(new Set([reason]))
        await allClosed(proxy, connects)
        expect(descriptors()).toBe(before)
      },
    )
  })

  it(`${COUNT} timeouts: each side closes, nothing is left open`, async () => {
    await withProxy(
      (peer) => script(peer, () => {}),
      async (proxy) => {
        const before = descriptors()
        const client = new SocksClient({ ...options(proxy, () => {}), timeoutMs: 50 })
        const attempts = Array.from({ length: COUNT - 1 }, () => rejection(client.connect(TARGET)))
        await failure(client.connect(TARGET), 'ERR_SOCKS_TIMEOUT')
        for (const error of await Promise.all(attempts)) expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' })
        await allClosed(proxy, connects)
        expect(descriptors()).toBe(before)
      },
    )
  })
})

describe('C142 one deadline for everything', () => {
  it('covers all hops, and the error names the hop and what it waited for', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      peer.send(SUCCESS)
      await peer.greet()
    }
    await withProxy(script, async (proxy) => {
      const client = new SocksClient({ proxy: [proxy.url(), 'socks5h://second.example'] })
      const error = await failure(client.connect({ ...TARGET, timeoutMs: 100 }), 'ERR_SOCKS_TIMEOUT')
      expect(error).toMatchObject({ hop: 1, target: 'example.com:443' })
      expect(error.message).toContain('socks5h://second.example:1080')
      expect(error.message).toContain('100 ms')
    })
  })

  it('only the wait for the last reply is about the target', async () => {
    for (const [answers, replyCode] of [
      [false, undefined],
      [true, 6],
    ] as const) {
      const script = async (peer: Peer): Promise<void> => void (answers && (await peer.greet()))
      await withProxy(script, async (proxy) => {
        const error = await failure(
          SocksClient.connect({ proxy: proxy.url(), ...TARGET, timeoutMs: 100 }),
          'ERR_SOCKS_TIMEOUT',
        )
        expect(error.replyCode).toBe(replyCode)
      })
    }
  })
})

describe('C142 signals', () => {
  it('one that is aborted already: no I/O, its own reason', async () => {
    await withProxy(
      () => {},
      async (proxy) => {
        const client = new SocksClient({
          proxy: proxy.url(),
          lookup: () => {
            throw new Error('looked up')
          },
        })
        for (const reason of [new Error('mine'), null, 0]) {
          expect(await rejection(client.connect({ ...TARGET, signal: AbortSignal.abort(reason) }))).toBe(reason)
        }
        expect(await rejection(client.connect({ ...TARGET, signal: AbortSignal.abort() }))).toMatchObject({
          name: 'AbortError',
        })
        expect(proxy.peers).toHaveLength(0)
      },
    )
  })

  it('leaves no listener on the signal and no timer, however it ends', async () => {
    const { signal, count } = countedSignal()
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = timers()
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      const request = await peer.readRequest()
      peer.send(request.at(-1) === 0 ? SUCCESS : '05 05')
    }
    await withProxy(script, async (proxy) => {
      const client = new SocksClient({ proxy: proxy.url(), timeoutMs: 60_000 })
      const { socket } = await client.connect({ host: 'a', port: 256, signal })
      expect(count()).toBe(0)
      expect(timers()).toBe(before)
      socket.destroy()
      await failure(client.connect({ host: 'a', port: 1, signal }), 'ERR_SOCKS_CONNECTION_REFUSED')
      expect(count()).toBe(0)
      expect(timers()).toBe(before)
    })
  })

  it('an abort after success does not touch the socket', async () => {
    await withProxy(
      async (peer) => void (await peer.open()).write('hello'),
      async (proxy) => {
        const aborter = new AbortController()
        const { socket } = await SocksClient.connect({ proxy: proxy.url(), ...TARGET, signal: aborter.signal })
        aborter.abort()
        const [chunk] = await once(socket, 'data')
        expect(String(chunk)).toBe('hello')
        socket.destroy()
      },
    )
  })

  it('an abort between two hops closes the first', async () => {
    const script = async (peer: Peer): Promise<void> => void (await peer.open())
    await withProxy(script, async (proxy) => {
      const aborter = new AbortController()
      const reason = new Error('between')
      const client = new SocksClient({
        proxy: [proxy.url(), 'socks5h://second.example'],
        onHop: () => aborter.abort(reason),
      })
      expect(await rejection(client.connect({ ...TARGET, signal: aborter.signal }))).toBe(reason)
      await proxy.peers[0]?.closed
    })
  })

  it('a lookup that answers after the abort changes nothing', async () => {
    let answer = (): void => {}
    const aborter = new AbortController()
    const lookup: LookupFunction = (_host, _options, callback) => {
      answer = () => callback(null, '127.0.0.1', 4)
      aborter.abort()
    }
    await withProxy(
      () => {},
      async (proxy) => {
        for (const url of [`socks5h://proxy.example:${proxy.port}`, proxy.url().replace('socks5h', 'socks5')]) {
          const client = new SocksClient({ proxy: url, lookup })
          expect(await rejection(client.connect({ ...TARGET, signal: aborter.signal }))).toMatchObject({
            name: 'AbortError',
          })
          answer()
          answer()
        }
      },
    )
  })
})

/** A signal that knows how many listen to it. */
function countedSignal(): { readonly signal: AbortSignal; readonly count: () => number } {
  const { signal } = new AbortController()
  let count = 0
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    count++
    add(...args)
  }
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    count--
    remove(...args)
  }
  return { signal, count: () => count }
}
