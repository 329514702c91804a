import { once } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import {
  type DeniedInfo,
  type EstablishedInfo,
  noAuth,
  type RequestInfo,
  type ServerOptions,
  type Session,
  userPass,
} from '../../src/server/index.js'
import { dropped, peerOf } from '../support/bind-client.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { connectRequest, credentials, GREETING_USER_PASS, hex } from '../support/raw-client.js'
import { cleanup, codeOf, type Fixture, startServer } from '../support/servers.js'
import { REJECTED, readReply4, socks4Request } from '../support/socks4.js'
import { refusedPort, startEcho, startTarget, type Target } from '../support/targets.js'

async function startEchoTarget(host?: string): Promise<Target> {
  const echo = await startEcho(host)
  cleanup(() => echo.close())
  return echo
}

function startSocks4(options: ServerOptions = {}): Promise<Fixture> {
  return startServer({ socks4: true, ...options })
}

/** Everything that a server answers to bytes of a client that then sends FIN, as hex. */
async function answer(fixture: Fixture, ...chunks: Uint8Array[]): Promise<string> {
  const client = await fixture.client()
  for (const chunk of chunks) await client.send(chunk)
  client.end()
  const bytes = await client.readToEnd()
  client.stream.destroy()
  return bytes.toString('hex')
}

describe('SOCKS4 CONNECT', () => {
  it('S126 S129 is granted by 8 bytes with the near address, before any byte of the target, which gets the payload', async () => {
    const target = await startTarget((socket) => socket.write('banner'))
    cleanup(() => target.close())
    const fixture = await startSocks4()
    const client = await fixture.client()
    client.write(Buffer.concat([socks4Request('127.0.0.1', target.port), Buffer.from('early')]))
    const reply = await readReply4(client)
    const far = await target.connection()
    expect(reply).toEqual({ code: 0x5a, host: '127.0.0.1', port: far.remotePort })
    expect(Buffer.from(await client.read(6), 'hex').toString()).toBe('banner')
    client.stream.end(' late')
    const chunks: Buffer[] = []
    for await (const chunk of far) chunks.push(chunk)
    expect(String(Buffer.concat(chunks))).toBe('early late')
  })

  it('S127 S129 4a names its target; byte by byte and split at every place it is the same', async () => {
    const echo = await startEchoTarget()
    const asked: string[] = []
    const fixture = await startSocks4({
      lookup: (host, _options, callback) => {
        asked.push(host)
        callback(null, [{ address: '127.0.0.1', family: 4 }])
      },
    })
    const message = Buffer.concat([
      socks4Request('Echo.Example.', echo.port, { userId: 'ann' }),
      Buffer.from('after the second NUL'),
    ])
    const cuts = Array.from({ length: message.length - 1 }, (_, index) => [
      message.subarray(0, index + 1),
      message.subarray(index + 1),
    ])
    const bytes = Array.from(message, (byte) => Buffer.from([byte]))
    const answers = await Promise.all([bytes, ...cuts].map((chunks) => answer(fixture, ...chunks)))
    for (const text of answers) {
      expect(text.slice(0, 4)).toBe('005a')
      expect(Buffer.from(text.slice(16), 'hex').toString()).toBe('after the second NUL')
    }
    expect(new Set(asked)).toEqual(new Set(['echo.example']))
    expect(fixture.errors).toEqual([])
  })

  it('S129 a name ends at its first NUL: rules see what is dialed, the rest is payload', async () => {
    const echo = await startEchoTarget()
    const authorize = vi.fn(() => true)
    const fixture = await startSocks4({ authorize })
    const request = Buffer.concat([socks4Request('127.0.0.1\0.example.com', echo.port)])
    const text = await answer(fixture, request)
    expect(Buffer.from(text.slice(16), 'hex').toString()).toBe(
      // The helper takes it for a name and ends it by a NUL of its own.
      '.example.com\0',
    )
    expect(authorize).toHaveBeenCalledWith(expect.objectContaining({ type: 'ipv4', host: '127.0.0.1' }))
  })

  it('S131 a target behind a name that is reached by IPv6 is granted with zeros', async () => {
    const echo = await startEchoTarget('::1')
    const fixture = await startSocks4({
      lookup: (_host, _options, callback) => callback(null, [{ address: '::1', family: 6 }]),
    })
    const text = await answer(fixture, Buffer.concat([socks4Request('six.example', echo.port), Buffer.from('x')]))
    expect(text).toBe(`005a00000000000078`)
  })

  it('S126 what hideBoundAddress hides is told as zeros', async () => {
    const echo = await startEchoTarget()
    const hidden = await startSocks4({ hideBoundAddress: true })
    expect(await answer(hidden, socks4Request('127.0.0.1', echo.port))).toBe('005a000000000000')
  })

  it('S126 S127 every failure is one 5B and the end, whatever SOCKS5 would say', async () => {
    const port = await refusedPort()
    const fixture = await startSocks4({
      authorize: ({ host }) => host !== 'denied.example' || 3,
      lookup: (_host, _options, callback) => callback(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []),
    })
    for (const request of [
      socks4Request('127.0.0.1', port),
      socks4Request('denied.example', 80),
      socks4Request('nobody.example', 80),
      socks4Request('127.0.0.1', 0),
      // No marker of 4a, and nowhere to go to.
      socks4Request('0.0.0.0', 80),
      socks4Request('', 80),
      socks4Request('0x7f000001', 80),
      ...[0x00, 0x02, 0x03, 0x05, 0xf0, 0xf1, 0xff].map((command) => socks4Request('127.0.0.1', port, { command })),
    ]) {
      expect(await answer(fixture, request), request.toString('hex')).toBe(REJECTED)
    }
  })

  it('S44 knows CONNECT and BIND, whatever else SOCKS5 clients are served', async () => {
    const fixture = await startSocks4({ commands: ['connect', 'bind', 'udp-associate', 'resolve-ptr'] })
    for (const command of [0x03, 0x05, 0xf0, 0xf1, 0xff]) {
      expect(await answer(fixture, socks4Request('127.0.0.1', 0, { command })), String(command)).toBe(REJECTED)
    }
  })

  it('S128 a USERID or a name without an end is answered 5B by its 256th byte, however slow', async () => {
    const fixture = await startSocks4()
    const start = hex('04 01 0050 7f000001')
    const named = hex('04 01 0050 00000001 00')
    for (const head of [start, named]) {
      const client = await fixture.client()
      await client.send(head)
      for (let sent = 0; sent < 255; sent++) await client.send(Buffer.from('a'))
      expect(client.stream.readableLength).toBe(0)
      await client.send(Buffer.from('a'))
      expect((await client.readToEnd()).toString('hex')).toBe(REJECTED)
      client.end()
    }
    expect(fixture.errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_USER_ID', 'ERR_SOCKS_INVALID_HOST'])
    // A flood gets its answer, too.
    expect(await answer(fixture, Buffer.concat([start, Buffer.alloc(500_000, 'a')]))).toBe(REJECTED)
  })

  it('S16 a request that stops half-way is closed by the deadline, without an answer', async () => {
    const fixture = await startSocks4({ handshakeTimeoutMs: 40 })
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(socks4Request('localhost', 80).subarray(0, -1))
    expect((await client.readToEnd()).length).toBe(0)
    expect(await closing).toMatchObject({ reason: 'handshake-timeout' })
  })

  it('S11 where it is off, it is closed without a byte', async () => {
    const fixture = await startServer()
    expect(await answer(fixture, socks4Request('127.0.0.1', 80))).toBe('')
    expect(fixture.errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_VERSION'])
  })

  it('S34 S86 a client that resets while it waits cancels the dial; a FIN does not', async () => {
    const dialing = deferred<AbortSignal>()
    const fixture = await startSocks4({
      dial: ({ signal }) => {
        dialing.resolve(signal)
        return new Promise<never>(() => {})
      },
    })
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(socks4Request('a.example', 80))
    const signal = await dialing.promise
    client.reset()
    expect(await closing).toMatchObject({ reason: 'aborted', destination: { host: 'a.example' } })
    expect(signal.aborted).toBe(true)
  })
})

describe('SOCKS4 and who the client is', () => {
  it('S130 where a password is required each request is answered 5B, after the delay, and nothing is dialed', async () => {
    const echo = await startEchoTarget()
    const verify = vi.fn(() => true)
    const fixture = await startSocks4({ auth: userPass(verify), authFailureDelayMs: 60 })
    const denied: DeniedInfo[] = []
    fixture.server.on('denied', (info) => denied.push(info))
    const closing = fixture.closed()
    const before = performance.now()
    expect(await answer(fixture, socks4Request('127.0.0.1', echo.port, { userId: 'ann' }))).toBe(REJECTED)
    expect(performance.now() - before).toBeGreaterThan(50)
    expect(await closing).toMatchObject({ reason: 'auth-failed', identity: undefined, destination: undefined })
    expect(denied).toMatchObject([{ rule: 'auth', error: { code: 'ERR_SOCKS_AUTH_FAILED' } }])
    expect([verify.mock.calls.length, echo.accepted, fixture.errors.length]).toEqual([0, 0, 0])
    // Whoever has the password is served on the same port.
    const text = await answer(
      fixture,
      Buffer.concat([GREETING_USER_PASS, credentials('ann', 'x'), connectRequest('127.0.0.1', echo.port)]),
    )
    expect(text.slice(0, 12)).toBe('050201000500')
  })

  it('S130 where anybody may come in, nobody is asked, and a USERID is no identity', async () => {
    const echo = await startEchoTarget()
    const fixture = await startSocks4({ auth: [userPass({ ann: 'secret' }), noAuth()] })
    const told: RequestInfo[] = []
    fixture.server.on('request', (info) => told.push(info))
    const text = await answer(fixture, socks4Request('127.0.0.1', echo.port, { userId: hex('ff fe') }))
    expect(text.slice(0, 4)).toBe('005a')
    expect(told[0]?.identity).toEqual({})
  })

  it.each([
    ['true', () => true, { username: 'ann' }],
    ['a promise of true', async () => true, { username: 'ann' }],
    ['an identity', (name: string) => ({ name, plan: 'pro' }), { name: 'ann', plan: 'pro' }],
  ])(
    'S130 a function that returns %s admits, also beside a required password, and rules see the identity',
    async (_what, socks4, identity) => {
      const echo = await startEchoTarget()
      const authorize = vi.fn(() => true)
      const fixture = await startServer({ socks4, auth: userPass({ ann: 'secret' }), authorize })
      const told: [string, unknown][] = []
      for (const name of ['session', 'request', 'established', 'denied', 'closed'] as const) {
        fixture.server.on(name, (info: Session | RequestInfo | EstablishedInfo) => {
          told.push([name, info.identity])
        })
      }
      const closing = fixture.closed()
      const text = await answer(fixture, socks4Request('127.0.0.1', echo.port, { userId: 'ann' }))
      expect(text.slice(0, 4)).toBe('005a')
      expect(authorize).toHaveBeenCalledWith(expect.objectContaining({ identity }))
      await closing
      expect(told).toEqual([
        ['session', undefined],
        ['request', identity],
        ['established', identity],
        ['closed', identity],
      ])
    },
  )

  it.each([
    ['false', () => false, 'ERR_SOCKS_AUTH_FAILED', 0],
    ['nothing', () => undefined, 'ERR_SOCKS_AUTH_FAILED', 0],
    ['null', () => null, 'ERR_SOCKS_AUTH_FAILED', 0],
    ['a text', () => 'yes', 'ERR_SOCKS_AUTH_FAILED', 0],
    [
      'nothing but throws',
      () => {
        throw new Error('boom')
      },
      'ERR_SOCKS_HOOK_FAILED',
      1,
    ],
    ['a rejection', () => Promise.reject(new Error('boom')), 'ERR_SOCKS_HOOK_FAILED', 1],
  ])('S130 a function that returns %s denies by 5B, and is told', async (_what, socks4, code, errors) => {
    // `as`: a function in plain JavaScript may return anything.
    const fixture = await startServer({ socks4: socks4 as unknown as () => boolean })
    const denied: DeniedInfo[] = []
    fixture.server.on('denied', (info) => denied.push(info))
    const closing = fixture.closed()
    expect(await answer(fixture, socks4Request('127.0.0.1', 9, { userId: 'ann' }))).toBe(REJECTED)
    expect(await closing).toMatchObject({ reason: 'auth-failed', error: { code } })
    expect(denied).toMatchObject([{ identity: undefined, destination: undefined, error: { code } }])
    expect(fixture.errors.length).toBe(errors)
  })

  it('S130 a USERID that is not UTF-8 is refused without asking, an empty one is asked about', async () => {
    const socks4 = vi.fn(() => false)
    const fixture = await startServer({ socks4 })
    expect(await answer(fixture, socks4Request('127.0.0.1', 9, { userId: hex('61 ff') }))).toBe(REJECTED)
    expect(socks4).not.toHaveBeenCalled()
    expect(await answer(fixture, socks4Request('127.0.0.1', 9, { userId: 'jürgen' }))).toBe(REJECTED)
    expect(await answer(fixture, socks4Request('127.0.0.1', 9))).toBe(REJECTED)
    expect(socks4.mock.calls).toEqual([
      ['jürgen', expect.anything()],
      ['', expect.anything()],
    ])
  })

  it('S130 a function that never settles is ended by the handshake deadline, and its session aborted', async () => {
    const asked = deferred<Session>()
    const fixture = await startServer({
      handshakeTimeoutMs: 50,
      socks4: (_userId, session) => {
        asked.resolve(session)
        return new Promise<never>(() => {})
      },
    })
    const closing = fixture.closed()
    expect(await answer(fixture, socks4Request('127.0.0.1', 9))).toBe('')
    const { signal } = await asked.promise
    expect(signal.aborted).toBe(true)
    expect(await closing).toMatchObject({ reason: 'handshake-timeout', destination: undefined })
  })

  it('S130 what the client sends while it is asked about waits, and a verdict after its reset is nobody’s', async () => {
    const echo = await startEchoTarget()
    const verdict = deferred<boolean>()
    const asked: Record<string, () => void> = {}
    const fixture = await startServer({
      socks4: (userId) => {
        asked[userId]?.()
        return verdict.promise
      },
    })
    const ask = async (userId: string) => {
      const client = await fixture.client()
      const isAsked = new Promise<void>((resolve) => {
        asked[userId] = resolve
      })
      client.write(socks4Request('127.0.0.1', echo.port, { userId }))
      await isAsked
      return client
    }
    const patient = await ask('patient')
    await patient.send(Buffer.from('while '))
    const gone = fixture.closed()
    const leaving = await ask('leaving')
    leaving.reset()
    expect(await gone).toMatchObject({ reason: 'aborted', identity: undefined })
    verdict.resolve(true)
    patient.stream.end('waiting')
    expect((await patient.readToEnd()).subarray(8).toString()).toBe('while waiting')
    expect(echo.accepted).toBe(1)
  })

  it('refuses what is neither yes, no nor a function', async () => {
    for (const socks4 of ['yes', 1, null, {}]) {
      // @ts-expect-error wrong on purpose
      await expect(startServer({ socks4 })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
    }
  })
})

describe('SOCKS4 BIND', () => {
  const BIND = { command: 2 }
  const COMMANDS = ['connect', 'bind'] as const

  it('S126 S130 has two replies of 5A: where it listens, and who has come', async () => {
    const fixture = await startSocks4({ commands: COMMANDS })
    const client = await fixture.client()
    client.write(socks4Request('0.0.0.0', 0, BIND))
    const first = await readReply4(client)
    expect(first).toMatchObject({ code: 0x5a, host: '127.0.0.1' })
    const peer = peerOf(first, '127.0.0.3')
    await once(peer, 'connect')
    peer.end('hello')
    expect(await readReply4(client)).toEqual({ code: 0x5a, host: '127.0.0.3', port: peer.localPort })
    client.end()
    expect(String(await client.readToEnd())).toBe('hello')
  })

  it('S126 a stranger is dropped; nobody in time is a second reply of 5B, with nothing left behind', async () => {
    const before = descriptors()
    const fixture = await startSocks4({ commands: COMMANDS, bind: { timeoutMs: 150 } })
    const client = await fixture.client()
    client.write(socks4Request('127.0.0.2', 0, BIND))
    const first = await readReply4(client)
    await dropped(peerOf(first, '127.0.0.3'))
    expect((await client.readToEnd()).toString('hex')).toBe(REJECTED)
    client.end()
    await client.closed
    expect(await settlesAt(descriptors, before + 1)).toBe(before + 1)
  })

  it('S131 a listener whose address would be IPv6 cannot be told: 5B', async () => {
    const fixture = await startSocks4({
      commands: COMMANDS,
      lookup: (_host, _options, callback) => callback(null, [{ address: '::1', family: 6 }]),
    })
    for (const host of ['::1', 'six.example']) {
      expect(await answer(fixture, socks4Request(host, 0, BIND))).toBe(REJECTED)
    }
    const six = await startSocks4({ commands: COMMANDS, bind: { host: '::1' } })
    expect(await answer(six, socks4Request('0.0.0.0', 0, BIND))).toBe(REJECTED)
  })
})
