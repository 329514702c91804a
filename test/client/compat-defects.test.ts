// What npm `socks` 2.8.10 gets wrong, and this library in its place does not. Its datagrams are in compat-udp-frame.test.ts.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { SocksClient, SocksClientError, type SocksProxy } from '../../src/client/index.js'
import { type Peer, type Script, ScriptedProxy, SUCCESS, withRealProxies } from '../support/scripted-proxy.js'
import { cleanup } from '../support/servers.js'
import { startEcho } from '../support/targets.js'
import { checkHygiene, PASSWORD, USER } from './hygiene.js'

const destination = { host: 'example.com', port: 443 }

async function listening(script: Script): Promise<ScriptedProxy> {
  const proxy = await new ScriptedProxy(script).listen()
  cleanup(() => proxy.close())
  return proxy
}

function at({ port }: ScriptedProxy, more: Partial<SocksProxy> = {}): SocksProxy {
  return { host: '127.0.0.1', port, type: 5, ...more }
}

function open(proxy: SocksProxy, timeout?: number): Promise<{ socket: Socket }> {
  return SocksClient.createConnection({ proxy, command: 'connect', destination, timeout })
}

/** The failure of an attempt, clean of secrets. */
async function failed(attempt: Promise<unknown>): Promise<SocksClientError> {
  const error = await attempt.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  )
  checkHygiene(error)
  if (!(error instanceof SocksClientError)) throw error
  return error
}

describe('A1: what the target says first', () => {
  const BANNER = '220 mail.example ESMTP\r\n'
  const readers: readonly [string, (socket: Socket) => Promise<string>][] = [
    ["'data'", async (socket) => String((await once(socket, 'data'))[0])],
    [
      "'readable'",
      async (socket) => {
        await once(socket, 'readable')
        return String(socket.read())
      },
    ],
    [
      'for await',
      async (socket) => {
        for await (const chunk of socket) return String(chunk)
        return ''
      },
    ],
    [
      'pipe',
      async (socket) => {
        const [end] = await pair()
        socket.pipe(end.near)
        return String((await once(end.far, 'data'))[0])
      },
    ],
  ]

  async function pair(): Promise<[{ near: Socket; far: Socket }]> {
    const { createServer } = await import('node:net')
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const near = connect(address.port, '127.0.0.1')
    const [far] = await once(server, 'connection')
    cleanup(() => {
      near.destroy()
      far.destroy()
      server.close()
    })
    return [{ near, far }]
  }

  for (const [name, read] of readers) {
    it.each([
      ['with the reply', 'at once'],
      ['with the reply', 'long after'],
      ['later', 'long after'],
    ])(`is there for ${name}: it came %s, and is read %s`, async (when, how) => {
      const proxy = await listening(async (peer) => {
        await peer.greet()
        await peer.readRequest()
        if (when === 'later') peer.send(SUCCESS)
        peer.send(when === 'later' ? Buffer.from(BANNER) : Buffer.concat([SUCCESS, Buffer.from(BANNER)]))
      })
      const { socket } = await open(at(proxy))
      // However long: the bytes are on this side by then, and nobody has read them.
      if (how === 'long after') await delay(30)
      expect(await read(socket)).toBe(BANNER)
      socket.destroy()
    })
  }
})

it('A2: no timer is left over, whatever came of the attempt', async () => {
  const set = vi.spyOn(globalThis, 'setTimeout')
  const cleared = vi.spyOn(globalThis, 'clearTimeout')
  cleanup(() => vi.restoreAllMocks())
  const good = await listening((peer) => void peer.open())
  const bad = await listening((peer) => peer.reset())
  const { socket } = await open(at(good))
  socket.destroy()
  await failed(open(at(bad)))
  const ours = set.mock.results
    .map(({ value }) => value)
    .filter((_timer, index) => set.mock.calls[index]?.[1] === 30_000)
  expect(ours).toHaveLength(2)
  for (const timer of ours) expect(cleared.mock.calls.flat()).toContain(timer)
})

it('A3: the length of a host is that of its bytes', async () => {
  const name = 'xn--bcher-kva.example'
  const asked: string[] = []
  const proxy = await listening(async (peer) => {
    await peer.greet()
    asked.push((await peer.readRequest()).toString('latin1'))
    peer.send(SUCCESS)
  })
  const options = { proxy: at(proxy), command: 'connect', destination: { host: 'bücher.example', port: 80 } } as const
  const { socket } = await SocksClient.createConnection(options)
  expect(asked).toEqual([`\x05\x01\x00\x03${String.fromCharCode(name.length)}${name}\x00\x50`])
  socket.destroy()
})

describe('A4: credentials that do not fit are an error before any I/O', () => {
  it.each([
    ['a user of 256 bytes', { userId: 'u'.repeat(256), password: PASSWORD }],
    ['a password of 256 bytes', { userId: USER, password: 'ü'.repeat(128) }],
  ])('%s', async (_name, credentials) => {
    const proxy = await listening(() => {})
    expect(await failed(open(at(proxy, credentials)))).toMatchObject({ code: 'ERR_SOCKS_INVALID_PROXY' })
    expect(proxy.peers).toHaveLength(0)
  })
})

describe('A5: a handler of a custom method that fails is an error, and no unhandled rejection', () => {
  const handlers = {
    custom_auth_method: 0x80,
    custom_auth_request_handler: async () => Buffer.from([1, 2, 3]),
    custom_auth_response_size: 2,
    custom_auth_response_handler: async () => true,
  }
  const broken = async (): Promise<never> => {
    throw new Error('of the handler')
  }

  it.each([
    ['the request handler rejects', { ...handlers, custom_auth_request_handler: broken }, 'ERR_SOCKS_HOOK_FAILED'],
    ['the response handler rejects', { ...handlers, custom_auth_response_handler: broken }, 'ERR_SOCKS_HOOK_FAILED'],
    [
      'the response handler throws',
      {
        ...handlers,
        custom_auth_response_handler: () => {
          throw new Error('of the handler')
        },
      },
      'ERR_SOCKS_HOOK_FAILED',
    ],
    [
      'the answer is refused',
      { ...handlers, custom_auth_response_handler: async () => false },
      'ERR_SOCKS_AUTH_FAILED',
    ],
  ])('%s', async (_name, options, code) => {
    const proxy = await listening(async (peer) => {
      await peer.greet(0x80)
      await peer.read(3)
      peer.send('01 00')
    })
    const error = await failed(open(at(proxy, options)))
    expect(error).toMatchObject({ code, hop: 0 })
    if (code === 'ERR_SOCKS_HOOK_FAILED') expect(error.cause).toMatchObject({ message: 'of the handler' })
  })

  it('a proxy that leaves while the handler thinks is an error at once', async () => {
    const proxy = await listening((peer) => peer.greet(0x80).then(() => {}))
    const options = {
      ...handlers,
      custom_auth_request_handler: () => {
        proxy.peers[0]?.reset()
        return new Promise<Buffer>(() => {})
      },
    }
    expect(await failed(open(at(proxy, options)))).toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
  })
})

describe('A6: no error shows a password', () => {
  const secret = { userId: USER, password: PASSWORD }

  it('in its options, printed in whatever way', async () => {
    const proxy = await listening(async (peer) => {
      await peer.greet(0x02)
      await peer.readCredentials()
      peer.send('01 01')
    })
    const error = await failed(open(at(proxy, secret)))
    expect(error).toMatchObject({ code: 'ERR_SOCKS_AUTH_FAILED', status: 1 })
    expect(error.options).toEqual({ command: 'connect', destination, proxy: at(proxy) })
    expect(inspect(error)).toContain('options')
  })

  it('of a chain', async () => {
    const proxy = await listening((peer) => peer.reset())
    const proxies = [at(proxy, secret), at(proxy, secret)]
    const error = await failed(SocksClient.createConnectionChain({ proxies, command: 'connect', destination }))
    expect(error.options).toEqual({ command: 'connect', destination, proxies: [at(proxy), at(proxy)] })
  })

  it('of a URL in place of a host', async () => {
    const host = `socks5://${USER}:${PASSWORD}@127.0.0.1`
    const error = await failed(open({ host, port: 1080, type: 5 }))
    expect(error).toMatchObject({ code: 'ERR_SOCKS_INVALID_PROXY', options: { proxy: { port: 1080 } } })
  })

  it('of a URL in place of the destination', async () => {
    const host = `https://${USER}:${PASSWORD}@example.com`
    const proxy: SocksProxy = { host: '127.0.0.1', port: 1080, type: 5 }
    const outcome = SocksClient.createConnection({ proxy, command: 'connect', destination: { host, port: 443 } })
    expect(await failed(outcome)).toMatchObject({
      code: 'ERR_SOCKS_INVALID_HOST',
      options: { destination: { host: '' } },
    })
  })

  it('what a caller makes one of is no exception', () => {
    const options = {
      proxy: { host: '127.0.0.1', port: 1, type: 5, ...secret },
      command: 'connect',
      destination,
    } as const
    checkHygiene(new SocksClientError('of the caller', options))
  })

  it('codes and reply codes are properties, not text to search', async () => {
    const proxy = await listening(async (peer) => {
      await peer.greet()
      await peer.readRequest()
      peer.send('05 04 00 01 00 00 00 00 00 00')
    })
    const error = await failed(open(at(proxy)))
    expect(error).toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE', replyCode: 4, target: 'example.com:443' })
  })
})

describe('A7: a method that was not offered is refused', () => {
  it.each([
    ['username and password, without either', 0x02, {}],
    ['a private method', 0x80, {}],
    ['another private method than ours', 0x81, { userId: USER, password: PASSWORD }],
  ])('%s', async (_name, method, credentials) => {
    const proxy = await listening(async (peer) => {
      await peer.greet(method)
    })
    const error = await failed(open(at(proxy, credentials)))
    expect(error).toMatchObject({ code: 'ERR_SOCKS_METHOD_NOT_OFFERED' })
    const [peer] = proxy.peers
    await peer?.closed
    expect(peer?.unread).toHaveLength(0)
  })
})

describe('A8: an answer that is none', () => {
  it.each([
    ['an address type that nobody knows', '05 00 00 02 7f 00 00 01 12 34', 'ERR_SOCKS_BAD_ADDRESS_TYPE'],
    ['another version', '04 00 00 01 7f 00 00 01 12 34', 'ERR_SOCKS_BAD_VERSION'],
  ])('is an error: %s', async (_name, reply, code) => {
    const proxy = await listening(async (peer) => {
      await peer.greet()
      await peer.readRequest()
      peer.send(reply)
    })
    expect(await failed(open(at(proxy)))).toMatchObject({ code })
  })

  it('an answer to credentials of another version is an error', async () => {
    const proxy = await listening(async (peer) => {
      await peer.greet(0x02)
      await peer.readCredentials()
      peer.send('07 00')
    })
    const error = await failed(open(at(proxy, { userId: USER, password: PASSWORD })))
    expect(error).toMatchObject({ code: 'ERR_SOCKS_BAD_AUTH_VERSION' })
  })

  it('a failure of two bytes is told at once, with the connection open', async () => {
    const proxy = await listening(async (peer) => {
      await peer.greet()
      await peer.readRequest()
      peer.send('05 02')
    })
    expect(await failed(open(at(proxy), 0))).toMatchObject({ code: 'ERR_SOCKS_NOT_ALLOWED' })
  })

  it('an empty host is refused before any I/O', async () => {
    const proxy = await listening(() => {})
    const empty = { host: '', port: 80 }
    const outcome = SocksClient.createConnection({ proxy: at(proxy), command: 'connect', destination: empty })
    expect(await failed(outcome)).toMatchObject({ code: 'ERR_SOCKS_INVALID_HOST' })
    expect(proxy.peers).toHaveLength(0)
  })
})

describe("A9: an address that is none stands for the proxy's own", () => {
  const forms = { '0.0.0.0': '01 00000000', '::': `04 ${'00'.repeat(16)}` }
  const answer = (bound: keyof typeof forms) => async (peer: Peer) => {
    await peer.greet()
    await peer.readRequest()
    peer.send(`05 00 00 ${forms[bound]} 12 34`)
  }

  it.each([
    ['0.0.0.0', 'by host', { host: '127.0.0.1' }],
    ['::', 'by host', { host: '127.0.0.1' }],
    ['0.0.0.0', 'by name', { host: 'localhost' }],
    ['0.0.0.0', 'by ipaddress', { host: undefined, ipaddress: '127.0.0.1' }],
  ] as const)('%s of a proxy %s, in associate', async (bound, _name, place) => {
    const proxy = await listening(answer(bound))
    const client = new SocksClient({
      proxy: at(proxy, place),
      command: 'associate',
      destination: { host: '0.0.0.0', port: 0 },
    })
    client.connect()
    const [info] = await once(client, 'established')
    expect(info.remoteHost).toEqual({ host: '127.0.0.1', port: 0x1234 })
    info.socket.destroy()
  })

  it('over a stream of the caller it is the address that the caller gave', async () => {
    const proxy = await listening(answer('::'))
    const existing_socket = connect(proxy.port, '127.0.0.1')
    const far: SocksProxy = { host: '192.0.2.7', port: 1080, type: 5 }
    const options = { proxy: far, command: 'connect', destination, existing_socket } as const
    const { socket, remoteHost } = await SocksClient.createConnection(options)
    expect(remoteHost).toEqual({ host: '192.0.2.7', port: 0x1234 })
    socket.destroy()
  })
})

describe('A10: a chain', () => {
  it('its timeout holds for all hops together, the last one included', async () => {
    const second = await listening((peer) =>
      peer
        .greet()
        .then(() => peer.readRequest())
        .then(() => {}),
    )
    await withRealProxies(1, async ([first]) => {
      if (first === undefined) throw new Error('no proxy')
      const proxies = [at(first.proxy), at(second)]
      const outcome = SocksClient.createConnectionChain({ proxies, command: 'connect', destination, timeout: 100 })
      const error = await failed(outcome)
      expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', hop: 1, target: 'example.com:443' })
      const [peer] = second.peers
      await peer?.closed
    })
  })

  it('randomizeChain leaves the array of the caller as it is, and takes every proxy once', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    await withRealProxies(3, async (hops) => {
      const proxies = hops.map(({ proxy }) => at(proxy))
      const before = [...proxies]
      for (let round = 0; round < 20; round++) {
        const { socket } = await SocksClient.createConnectionChain({
          proxies: Object.freeze(proxies) as SocksProxy[],
          command: 'connect',
          destination: { host: '127.0.0.1', port: echo.port },
          randomizeChain: true,
        })
        socket.destroy()
      }
      expect(proxies).toEqual(before)
      // The first in turn is dialed by us; asked for the target is the last in turn.
      const asked = hops.map(({ requests }) =>
        requests.filter((bytes) => bytes.readUInt16BE(bytes.length - 2) === echo.port),
      )
      expect(asked.flat()).toHaveLength(20)
      expect(hops.map(({ requests }) => requests.length)).toEqual([20, 20, 20])
      // By chance alone one of three never stands last in 20 rounds once in 1,100 runs; two of them, never.
      expect(asked.filter(({ length }) => length > 0).length).toBeGreaterThan(1)
    })
  })

  it('an error says at which hop, and is the first one that there was', async () => {
    const second = await listening(async (peer) => {
      await peer.greet(0xff)
    })
    await withRealProxies(1, async ([first]) => {
      if (first === undefined) throw new Error('no proxy')
      const proxies = [at(first.proxy), at(second)]
      const error = await failed(SocksClient.createConnectionChain({ proxies, command: 'connect', destination }))
      expect(error).toMatchObject({ code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD', hop: 1 })
    })
  })

  it('takes options without a timeout of Infinity for a mistake, not for no time at all', async () => {
    const proxies: SocksProxy[] = [
      { host: '127.0.0.1', port: 1, type: 5 },
      { host: '127.0.0.1', port: 2, type: 5 },
    ]
    const outcome = SocksClient.createConnectionChain({ proxies, command: 'connect', destination, timeout: Infinity })
    await expect(outcome).rejects.toThrow(RangeError)
  })
})

describe('A11: an existing socket', () => {
  it("gets no second 'connect'", async () => {
    const proxy = await listening((peer) => void peer.open())
    const existing_socket = connect(proxy.port, '127.0.0.1')
    let connects = 0
    existing_socket.on('connect', () => connects++)
    await once(existing_socket, 'connect')
    const listeners = existing_socket.eventNames().map((name) => [name, existing_socket.listenerCount(name)])
    const { socket } = await SocksClient.createConnection({
      proxy: at(proxy),
      command: 'connect',
      destination,
      existing_socket,
    })
    expect(socket).toBe(existing_socket)
    expect(connects).toBe(1)
    // All that is left is the guard for 'error'.
    const added = socket.listenerCount('error')
    expect(added).toBe(1)
    expect(
      socket
        .eventNames()
        .filter((name) => name !== 'error')
        .map((name) => [name, socket.listenerCount(name)]),
    ).toEqual(listeners.filter(([name]) => name !== 'error'))
    socket.destroy()
  })

  it.each([
    [
      'what the mongodb driver puts there',
      { host: 'iLoveJavaScript', port: 0, type: 5, userId: undefined, password: undefined },
    ],
    ['nothing', { type: 5 }],
    ['what no name can be', { host: 'a b', port: 1080, type: 5 }],
  ])('needs no address of the proxy: %s', async (_name, proxy) => {
    const given = await listening((peer) => void peer.open())
    const existing_socket = connect(given.port, '127.0.0.1')
    // @ts-expect-error Not all of them have a port.
    const options: { proxy: SocksProxy } = { proxy }
    const { socket } = await SocksClient.createConnection({
      ...options,
      command: 'connect',
      destination,
      existing_socket,
    })
    expect(socket).toBe(existing_socket)
    socket.destroy()
  })
})

describe('A12: callbacks and times', () => {
  it('the promise beside a callback rejects where there is an error, and may be forgotten', async () => {
    const proxy = await listening((peer) => peer.reset())
    let outcome: Promise<unknown> = Promise.resolve()
    const called = await new Promise((resolve) => {
      const options = { proxy: at(proxy), command: 'connect', destination } as const
      outcome = SocksClient.createConnection(options, (...args) => resolve(args))
    })
    const error = await failed(outcome)
    expect(called).toEqual([error])
  })

  it('the wait for the peer of BIND ends when a timeout is given', async () => {
    const proxy = await listening((peer) => void peer.open())
    const client = new SocksClient({ proxy: at(proxy), command: 'bind', destination, timeout: 100 })
    const bound: unknown[] = []
    client.on('bound', ({ remoteHost }) => bound.push(remoteHost))
    client.connect()
    const error = await new Promise((resolve) => client.on('error', resolve))
    expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' })
    expect(bound).toEqual([{ host: '127.0.0.1', port: 0x1234 }])
    await proxy.peers[0]?.closed
  })

  it('a timeout of 0 is none', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    cleanup(() => vi.useRealTimers())
    const proxy = await listening((peer) => void peer.open())
    const { socket } = await open(at(proxy), 0)
    expect(vi.getTimerCount()).toBe(0)
    socket.destroy()
  })

  it('a reset before anybody listens ends no process', async () => {
    const proxy = await listening((peer) => void peer.open())
    const { socket } = await open(at(proxy))
    const closed = new Promise((resolve) => socket.once('close', resolve))
    proxy.peers[0]?.reset()
    await closed
    expect(socket.errored).toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('A14: SOCKS4 with a NUL is refused before any I/O', () => {
  it.each([
    ['in the user', { userId: 'a\0b' }, 'example.com', 'ERR_SOCKS_INVALID_PROXY'],
    ['in the host', {}, 'a\0b', 'ERR_SOCKS_INVALID_HOST'],
  ])('%s', async (_name, more, host, code) => {
    const proxy = await listening(() => {})
    const options = {
      proxy: at(proxy, { type: 4, ...more }),
      command: 'connect',
      destination: { host, port: 80 },
    } as const
    expect(await failed(SocksClient.createConnection(options))).toMatchObject({ code })
    expect(proxy.peers).toHaveLength(0)
  })
})

it('the caller keeps its options as they were', async () => {
  const proxy = await listening((peer) => void peer.open())
  const freeze = <T extends object>(value: T): T => {
    for (const inner of Object.values(value)) if (typeof inner === 'object' && inner !== null) freeze(inner)
    return Object.freeze(value)
  }
  const options = freeze({
    proxy: at(proxy, { userId: USER }),
    command: 'connect' as const,
    destination: { ...destination },
  })
  const { socket } = await SocksClient.createConnection(options)
  socket.destroy()
})
