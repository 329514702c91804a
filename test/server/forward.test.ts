import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import {
  type ClosedInfo,
  createForwardServer,
  createOutbound,
  createSocksServer,
  type DeniedInfo,
  type EstablishedInfo,
  egress,
  type ForwardServer,
  type ForwardServerOptions,
  type ForwardTarget,
  relay,
  type Session,
} from '../../src/server/index.js'
import { testDirectory } from '../interop/peers.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { RawClient } from '../support/raw-client.js'
import { cleanup, codeOf } from '../support/servers.js'
import { refusedPort, startEcho, startTarget, type Target } from '../support/targets.js'

const MEGABYTE = Buffer.alloc(1_048_576, 'abcdefghijklmnop')

async function newTarget(onConnection?: (socket: Socket) => void): Promise<Target> {
  const target = await startTarget(onConnection)
  cleanup(() => target.close())
  return target
}

async function newEcho(): Promise<Target> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo
}

/** A forward server that listens, with all that it told. */
async function startForward(options: ForwardServerOptions) {
  const server = createForwardServer(options)
  cleanup(() => server.close({ graceMs: 0 }))
  const errors: Error[] = []
  const denied: DeniedInfo[] = []
  const established: EstablishedInfo[] = []
  server.on('error', (error) => errors.push(error))
  server.on('denied', (info) => denied.push(info))
  server.on('established', (info) => established.push(info))
  const { port } = await server.listen(0)
  return {
    server,
    port,
    errors,
    denied,
    established,
    client: async (options: { localAddress?: string } = {}) => {
      const client = await RawClient.connect(port, options)
      cleanup(() => client.stream.destroy())
      return client
    },
    closed: () => new Promise<ClosedInfo>((resolve) => server.once('closed', resolve)),
  }
}

/** What a client gets that says hello and no more. */
async function ask(fixture: { client(): Promise<RawClient> }): Promise<string> {
  const client = await fixture.client()
  client.stream.end('hello')
  const answer = await client.readToEnd()
  client.stream.destroy()
  return String(answer)
}

/** What a client without an address gets. */
async function askRemotely(server: ForwardServer): Promise<string> {
  const [near, far] = duplexPair()
  server.handle(near)
  far.on('error', () => {})
  far.end('hello')
  const client = new RawClient(far)
  return String(await client.readToEnd())
}

describe('createForwardServer', () => {
  it('takes each client to its target, with both half-closes and exact counts', async () => {
    const target = await newTarget()
    const fixture = await startForward({ target: { host: '127.0.0.1', port: target.port } })
    for (const first of ['client', 'target']) {
      const closing = fixture.closed()
      const client = await fixture.client()
      const far = new RawClient(await target.connection())
      const [early, late] = first === 'client' ? [client, far] : [far, client]
      early.stream.end(MEGABYTE)
      expect((await late.readToEnd()).equals(MEGABYTE)).toBe(true)
      late.stream.end(Buffer.concat([MEGABYTE, MEGABYTE]))
      expect(await early.readToEnd()).toHaveLength(2 * MEGABYTE.length)
      const [bytesUp, bytesDown] = first === 'client' ? [1, 2] : [2, 1]
      expect(await closing).toMatchObject({
        reason: 'end',
        bytesUp: bytesUp * MEGABYTE.length,
        bytesDown: bytesDown * MEGABYTE.length,
        identity: {},
        destination: { type: 'ipv4', host: '127.0.0.1', port: target.port },
      })
    }
    expect(fixture.established).toMatchObject([{ command: 'connect', rules: ['egress any'] }, {}])
    const total = 3 * MEGABYTE.length
    expect(fixture.server.stats()).toMatchObject({
      accepted: 2,
      established: 2,
      failed: 0,
      bytesUp: total,
      bytesDown: total,
    })
  })

  it('the target may speak first, to a client that never says a word', async () => {
    const target = await newTarget((socket) => socket.end('220 ready\r\n'))
    const fixture = await startForward({ target: { host: 'localhost', port: target.port } })
    const client = await fixture.client()
    expect(String(await client.readToEnd())).toBe('220 ready\r\n')
    expect(fixture.server.stats()).toMatchObject({ tunnels: 1 })
  })

  it('a target that refuses closes the client without a byte, and is no fault', async () => {
    const port = await refusedPort()
    const fixture = await startForward({ target: { host: '127.0.0.1', port } })
    const closing = fixture.closed()
    expect(await ask(fixture)).toBe('')
    expect(await closing).toMatchObject({ reason: 'refused', error: { code: 'ERR_SOCKS_CONNECTION_REFUSED' } })
    expect([fixture.errors, fixture.denied]).toEqual([[], []])
  })

  it.each(['immediate', 'by promise'])('a function chooses a target for each client: a balancer (%s)', async (how) => {
    const targets = await Promise.all(['one', 'two'].map((name) => newTarget((socket) => socket.end(name))))
    const asked: Session[] = []
    const choose: ForwardTarget = (_socket, session) => {
      asked.push(session)
      const target = targets[asked.length % 2]
      const chosen = { host: '127.0.0.1', port: target?.port ?? 0 }
      return how === 'immediate' ? chosen : Promise.resolve(chosen)
    }
    const fixture = await startForward({ target: choose })
    const answers = [await ask(fixture), await ask(fixture), await ask(fixture)]
    expect(answers).toEqual(['two', 'one', 'two'])
    expect(asked.map(({ id, clientAddress }) => `${id} ${clientAddress}`)).toEqual([
      '1 127.0.0.1',
      '2 127.0.0.1',
      '3 127.0.0.1',
    ])
  })

  it('a function sees the near end of the socket, which is the original destination with TPROXY', async () => {
    const echo = await newEcho()
    const seen: unknown[] = []
    const fixture = await startForward({
      target: (socket) => {
        const { localAddress, localPort } = socket as Socket // `listen` accepts sockets
        seen.push([localAddress, localPort])
        return { host: '127.0.0.1', port: echo.port }
      },
    })
    expect(await ask(fixture)).toBe('hello')
    expect(seen).toEqual([['127.0.0.1', fixture.port]])
  })

  it.each<[string, () => unknown, string]>([
    ['returns nothing', () => undefined, 'ERR_SOCKS_NOT_ALLOWED'],
    ['resolves to nothing', async () => undefined, 'ERR_SOCKS_NOT_ALLOWED'],
    ['throws', () => assertFails(), 'ERR_SOCKS_HOOK_FAILED'],
    ['rejects', async () => assertFails(), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns null', () => null, 'ERR_SOCKS_HOOK_FAILED'],
    ['returns a text', () => 'localhost:80', 'ERR_SOCKS_HOOK_FAILED'],
    ['returns no host', () => ({ port: 80 }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns no port', () => ({ host: '127.0.0.1' }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns port 0', () => ({ host: '127.0.0.1', port: 0 }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns a port that is text', () => ({ host: '127.0.0.1', port: '80' }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns a spelling of loopback', () => ({ host: '127.1', port: 80 }), 'ERR_SOCKS_HOOK_FAILED'],
  ])('a function that %s turns the client away, once, and says why', async (_what, target, code) => {
    // `as`: a function in plain JavaScript may return anything.
    const fixture = await startForward({ target: target as ForwardTarget })
    const closing = fixture.closed()
    expect(await ask(fixture)).toBe('')
    expect(await closing).toMatchObject({ reason: 'refused', error: { code } })
    expect(fixture.denied.map(({ rule }) => rule)).toEqual([
      code === 'ERR_SOCKS_NOT_ALLOWED' ? 'target' : 'target hook',
    ])
    expect(fixture.errors.map(codeOf)).toEqual(code === 'ERR_SOCKS_NOT_ALLOWED' ? [] : [code])
  })

  it('a function that never settles is ended by the handshake deadline, or by the client', async () => {
    const never = (): Promise<never> => new Promise(() => {})
    const hurried = await startForward({ target: never, handshakeTimeoutMs: 40 })
    const closing = hurried.closed()
    expect(await ask(hurried)).toBe('')
    expect(await closing).toMatchObject({ reason: 'handshake-timeout' })
    const asked = deferred<Session>()
    const patient = await startForward({
      target: (_socket, session) => {
        asked.resolve(session)
        return never()
      },
      handshakeTimeoutMs: 0,
    })
    const gone = patient.closed()
    const client = await patient.client()
    const { signal } = await asked.promise
    client.reset()
    await gone
    expect(signal.aborted).toBe(true)
  })

  it('S86 a reset while the target is dialed cancels it and is told as such; a FIN is a half-close', async () => {
    const dialing: { signal: AbortSignal; resolve(stream: Duplex): void }[] = []
    const fixture = await startForward({
      target: { host: 'a.example', port: 80 },
      dial: ({ signal }) => new Promise<Duplex>((resolve) => dialing.push({ signal, resolve })),
    })
    const closing = fixture.closed()
    const leaving = await fixture.client()
    await vi.waitFor(() => expect(dialing).toHaveLength(1), 10_000)
    leaving.reset()
    expect(await closing).toMatchObject({ reason: 'aborted', error: { code: 'ERR_SOCKS_ABORTED' } })
    expect(dialing[0]?.signal.aborted).toBe(true)
    const [late] = duplexPair()
    dialing[0]?.resolve(late)
    await vi.waitFor(() => expect(late.destroyed).toBe(true), 10_000)
    const patient = await fixture.client()
    patient.stream.end('before the dial')
    await vi.waitFor(() => expect(dialing).toHaveLength(2), 10_000)
    const [near, far] = duplexPair()
    dialing[1]?.resolve(near)
    expect(String(await new RawClient(far).readToEnd())).toBe('before the dial')
    far.end('answer')
    expect(String(await patient.readToEnd())).toBe('answer')
  })

  it.each<[unknown]>([
    [{}],
    [{ target: undefined }],
    [{ target: 'localhost:80' }],
    [{ target: null }],
    [{ target: { port: 80 } }],
    [{ target: { host: '', port: 80 } }],
    [{ target: { host: 5, port: 80 } }],
    [{ target: { host: '127.0.0.1', port: 0 } }],
    [{ target: { host: '127.0.0.1', port: '80' } }],
    [{ target: { host: '127.0.0.1' } }],
    [{ target: { host: '127.1', port: 80 } }],
    [{ target: { host: '0.0.0.0', port: 80 } }],
    [{ target: { host: '::', port: 80 } }],
    [{ target: { host: '127.0.0.1', port: 80 }, sendProxyHeader: 3 }],
    [{ target: { host: '127.0.0.1', port: 80 }, sendProxyHeader: true }],
    [{ target: { host: '127.0.0.1', port: 80 }, auth: [] }],
    [{ target: { host: '127.0.0.1', port: 80 }, maxConnections: 0 }],
    [{ target: { host: '127.0.0.1', port: 80 }, outbound: createOutbound(), egress: egress.any() }],
    [null],
  ])('refuses %j at once', (options) => {
    // `as`: wrong on purpose
    expect(() => createForwardServer(options as ForwardServerOptions)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_(INVALID_ARG_VALUE|OUT_OF_RANGE|SOCKS_INVALID_HOST)$/),
      }),
    )
  })
})

describe('where a forward server leads', () => {
  it('a fixed target is its operator’s choice: any address, for any client, unless egress says otherwise', async () => {
    const echo = await newEcho()
    const target = { host: '127.0.0.1', port: echo.port }
    const fixed = await startForward({ target })
    expect(await askRemotely(fixed.server)).toBe('hello')
    await fixed.server.listen({ port: 0, host: '0.0.0.0' })
    const guarded = await startForward({ target, egress: egress.publicOnly() })
    expect(await ask(guarded)).toBe('')
    expect(guarded.denied).toMatchObject([{ rule: 'egress publicOnly' }])
    const asked = await startForward({ target, authorize: ({ clientAddress }) => clientAddress === '127.0.0.1' })
    expect(await ask(asked)).toBe('hello')
    expect(await askRemotely(asked.server)).toBe('')
  })

  it('a fixed target that is dialed by the application is its operator’s choice, too', async () => {
    const dialed: string[] = []
    const fixture = await startForward({
      target: { host: '127.0.0.1', port: 5_432 },
      dial: ({ host, port }) => {
        dialed.push(`${host}:${port}`)
        const [near, far] = duplexPair()
        far.pipe(far)
        return near
      },
    })
    expect(await ask(fixture)).toBe('hello')
    expect(await askRemotely(fixture.server)).toBe('hello')
    expect(dialed).toEqual(['127.0.0.1:5432', '127.0.0.1:5432'])
  })

  it('what a function chooses is judged by the default rules: local clients anything, others nothing local', async () => {
    const echo = await newEcho()
    const fixture = await startForward({ target: () => ({ host: '127.0.0.1', port: echo.port }) })
    expect(await ask(fixture)).toBe('hello')
    expect(await askRemotely(fixture.server)).toBe('')
    expect(fixture.denied).toMatchObject([{ rule: 'egress noLocal', destination: { host: '127.0.0.1' } }])
  })

  it('a way out that is shared brings its rules along', async () => {
    const echo = await newEcho()
    const authorize = vi.fn(({ port }: { port: number }) => port === echo.port)
    const outbound = createOutbound({ authorize, egress: egress.allow(['127.0.0.0/8']) })
    const socks = createSocksServer({ outbound })
    cleanup(() => socks.close({ graceMs: 0 }))
    const { port } = await socks.listen(0)
    expect(await ask(await startForward({ outbound, target: { host: '127.0.0.1', port: echo.port } }))).toBe('hello')
    const other = await startForward({ outbound, target: { host: '127.0.0.1', port } })
    expect(await ask(other)).toBe('')
    expect(authorize).toHaveBeenCalledWith(expect.objectContaining({ command: 'connect', session: expect.anything() }))
  })

  it('never to itself', async () => {
    const ports: number[] = []
    const fixture = await startForward({ target: () => ({ host: '127.0.0.1', port: ports[0] ?? 0 }) })
    ports.push(fixture.port)
    expect(await ask(fixture)).toBe('')
    expect(fixture.denied).toMatchObject([{ rule: 'loop guard', error: { code: 'ERR_SOCKS_LOOP' } }])
  })
})

describe('the PROXY protocol to a target', () => {
  const word = (value = 0): string => value.toString(16).padStart(4, '0')

  /** Everything that a target gets, as bytes. */
  async function received(
    options: Omit<ForwardServerOptions, 'target'>,
    dial: (server: ForwardServer) => Promise<Duplex> | Duplex,
  ) {
    const target = await newTarget((socket) => socket.end())
    const fixture = await startForward({ target: { host: '127.0.0.1', port: target.port }, ...options })
    const closing = fixture.closed()
    const stream = await dial(fixture.server)
    cleanup(() => stream.destroy())
    stream.resume()
    stream.end('hello')
    const bytes = await new RawClient(await target.connection()).readToEnd()
    return { bytes, info: await closing }
  }

  async function tcp(server: ForwardServer, host: string): Promise<Socket> {
    const { port } = await server.listen({ host, port: 0 })
    const socket = connect({ host, port, ...(host === '127.0.0.1' ? { localAddress: '127.0.0.5' } : {}) })
    await once(socket, 'connect')
    return socket
  }

  it('S138 version 1 is one line: client, and where it connected to', async () => {
    for (const [host, family, client] of [
      ['127.0.0.1', 'TCP4', '127.0.0.5'],
      ['::1', 'TCP6', '::1'],
    ] as const) {
      let socket: Socket | undefined
      const { bytes, info } = await received(
        { sendProxyHeader: 1 },
        async (server) => (socket = await tcp(server, host)),
      )
      const line = `PROXY ${family} ${client} ${host} ${info.session.clientPort} ${socket?.remotePort}\r\n`
      expect(String(bytes)).toBe(`${line}hello`)
      // What is said of the client is none of its bytes.
      expect(info).toMatchObject({ bytesUp: 5, reason: 'end' })
    }
  })

  it('S138 version 2 is the signature, the family, and both ends', async () => {
    const signature = '0d0a0d0a000d0a515549540a'
    for (const [host, head, ends] of [
      ['127.0.0.1', '2111000c', '7f0000057f000001'],
      ['::1', '21210024', `${'0'.repeat(31)}1${'0'.repeat(31)}1`],
    ] as const) {
      let socket: Socket | undefined
      const { bytes, info } = await received(
        { sendProxyHeader: 2 },
        async (server) => (socket = await tcp(server, host)),
      )
      const ports = `${word(info.session.clientPort)}${word(socket?.remotePort)}`
      expect(bytes.toString('hex')).toBe(`${signature}${head}${ends}${ports}${Buffer.from('hello').toString('hex')}`)
    }
  })

  it('S138 a client of a Unix socket is UNKNOWN', async () => {
    const unix = async (server: ForwardServer): Promise<Socket> => {
      const path = join(testDirectory(), 'door')
      await server.listen({ path })
      return connect(path)
    }
    expect(String((await received({ sendProxyHeader: 1 }, unix)).bytes)).toBe('PROXY UNKNOWN\r\nhello')
    const { bytes } = await received({ sendProxyHeader: 2 }, unix)
    expect(bytes.toString('hex')).toBe(`0d0a0d0a000d0a515549540a21000000${Buffer.from('hello').toString('hex')}`)
  })

  it('S138 a client whose address alone is known is told, with zeros for where it connected to', async () => {
    const handled =
      (clientAddress: string | undefined) =>
      (server: ForwardServer): Duplex => {
        const [near, far] = duplexPair()
        server.handle(near, { clientAddress, clientPort: 7 })
        return far
      }
    const told = async (clientAddress: string | undefined) =>
      String((await received({ sendProxyHeader: 1 }, handled(clientAddress))).bytes)
    expect(await told('192.0.2.5')).toBe('PROXY TCP4 192.0.2.5 0.0.0.0 7 0\r\nhello')
    expect(await told('2001:db8::5')).toBe('PROXY TCP6 2001:db8::5 :: 7 0\r\nhello')
    expect(await told(undefined)).toBe('PROXY UNKNOWN\r\nhello')
  })

  it.each([1, 2] as const)('S138 what a proxy in front told is passed on (version %s)', async (version) => {
    const first = await received({ sendProxyHeader: version, proxyProtocol: ['127.0.0.5'] }, async (server) => {
      const socket = await tcp(server, '127.0.0.1')
      socket.write('PROXY TCP4 192.0.2.5 192.0.2.1 5000 1080\r\n')
      return socket
    })
    expect(first.info.session).toMatchObject({ clientAddress: '192.0.2.5', clientPort: 5_000 })
    if (version === 1) expect(String(first.bytes)).toMatch(/^PROXY TCP4 192\.0\.2\.5 127\.0\.0\.1 5000 \d+\r\nhello$/)
    else expect(first.bytes.subarray(16, 20).toString('hex')).toBe('c0000205')
  })
})

describe('limits and times of a forward server', () => {
  it('maxConnections and maxConnectionsPerClient turn the newcomer away', async () => {
    const target = await newTarget()
    const fixture = await startForward({
      target: { host: '127.0.0.1', port: target.port },
      maxConnections: 3,
      maxConnectionsPerClient: 2,
    })
    for (const localAddress of ['127.0.0.1', '127.0.0.1', '127.0.0.2']) {
      await fixture.client({ localAddress })
      await target.connection()
    }
    expect(await ask(fixture)).toBe('')
    const [open] = [...target.sockets].slice(-1)
    const freed = fixture.closed()
    open?.resetAndDestroy()
    await freed
    const third = await fixture.client()
    expect(String(await third.readToEnd())).toBe('')
    expect(fixture.denied.map(({ rule }) => rule)).toEqual(['maxConnections', 'maxConnectionsPerClient'])
  })

  it('maxHandshakes drops who has waited longest for its target', async () => {
    const fixture = await startForward({ target: () => new Promise<never>(() => {}), maxHandshakes: 2 })
    const clients = [await fixture.client(), await fixture.client()]
    await vi.waitFor(() => expect(fixture.server.stats().handshakes).toBe(2), 10_000)
    const closing = fixture.closed()
    clients.push(await fixture.client())
    expect(await closing).toMatchObject({ reason: 'limit', session: { id: 1 } })
    expect(fixture.server.stats().handshakes).toBe(2)
  })

  it('S144 close waits for tunnels within its grace, destroys them after it, and accepts nobody', async () => {
    const target = await newTarget()
    const options = { target: { host: '127.0.0.1', port: target.port } }
    const patient = await startForward(options)
    const client = await patient.client()
    const far = await target.connection()
    const closing = patient.server.close({ graceMs: 20_000 })
    far.end('goodbye')
    client.end()
    expect(String(await client.readToEnd())).toBe('goodbye')
    await closing
    await expect(RawClient.connect(patient.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    const before = descriptors()
    const hurried = await startForward(options)
    const told = hurried.closed()
    const cut = await hurried.client()
    const other = await target.connection()
    await hurried.server.close({ graceMs: 10 })
    expect(await told).toMatchObject({ reason: 'shutdown' })
    await cut.closed
    other.destroy()
    expect(await settlesAt(descriptors, before)).toBe(before)
  })

  it('idleTimeoutMs ends a silent tunnel, drainTimeoutMs a half-closed one', async () => {
    const target = await newTarget()
    const options = { target: { host: '127.0.0.1', port: target.port } }
    const idle = await startForward({ ...options, idleTimeoutMs: 40 })
    const silent = idle.closed()
    await (await idle.client()).send(Buffer.from('x'))
    expect(await silent).toMatchObject({ reason: 'idle-timeout', bytesUp: 1 })
    const draining = await startForward({ ...options, drainTimeoutMs: 40 })
    const half = draining.closed()
    ;(await draining.client()).end()
    expect(await half).toMatchObject({ reason: 'drain-timeout' })
  })
})

describe('relay, as it is exported', () => {
  /** A stream that takes as many writes as it is told to; the next one waits, or fails. */
  function taking(writes: number, failure?: Error): Duplex {
    let taken = 0
    return new Duplex({
      allowHalfOpen: true,
      read() {},
      write(_chunk, _encoding, done) {
        if (taken++ < writes) done()
        else if (failure !== undefined) setImmediate(done, failure)
      },
    })
  }

  it.each<[string, Duplex, (sink: Duplex) => void]>([
    ['fails to write', taking(2, new Error('EPIPE')), () => {}],
    ['is reset while it writes', taking(2), (sink) => sink.destroy(new Error('ECONNRESET'))],
    ['is destroyed while it writes', taking(2), (sink) => sink.destroy()],
  ])('a side that %s was given what it has taken, and no more is counted', async (_what, sink, cut) => {
    const [far, source] = duplexPair()
    far.on('error', () => {})
    const joint = relay(source, sink)
    for (let sent = 0; sent < 5; sent++) {
      far.write(Buffer.alloc(10))
      await new Promise(setImmediate)
    }
    cut(sink)
    expect(await joint.closed).toMatchObject({ reason: 'reset' })
    expect(joint.bytesUp).toBe(20)
    // Nor later, when a write comes back that was under way.
    await new Promise(setImmediate)
    expect(joint.bytesUp).toBe(20)
  })

  it('a header that was written before it is none of its bytes', async () => {
    const [far, source] = duplexPair()
    const sink = taking(0)
    sink.write(Buffer.alloc(1_000))
    const joint = relay(source, sink)
    far.write(Buffer.alloc(10))
    await new Promise(setImmediate)
    sink.destroy()
    await joint.closed
    expect(joint.bytesUp).toBe(0)
  })

  it('counts what a target has received when the other side resets in the middle', async () => {
    const target = await newTarget()
    const fixture = await startForward({ target: { host: '127.0.0.1', port: target.port } })
    for (const who of ['client', 'target']) {
      const closing = fixture.closed()
      const client = await fixture.client()
      const far = new RawClient(await target.connection())
      client.write(MEGABYTE)
      far.write(MEGABYTE.subarray(0, 1_000))
      expect((await far.read(MEGABYTE.length)).length).toBe(2 * MEGABYTE.length)
      await client.read(1_000)
      if (who === 'client') client.reset()
      else far.reset()
      expect(await closing).toMatchObject({ reason: 'reset', bytesUp: MEGABYTE.length, bytesDown: 1_000 })
    }
  })

  it('ends two silent streams by idleTimeoutMs', async () => {
    const [left, a] = duplexPair()
    const [right, b] = duplexPair()
    for (const stream of [left, right]) stream.on('error', () => {})
    const joint = relay(a, b, { idleTimeoutMs: 30 })
    left.write('x')
    expect(await joint.closed).toEqual({ reason: 'idle-timeout' })
    expect([a.destroyed, b.destroyed, joint.bytesUp]).toEqual([true, true, 0])
  })

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, '5'])(
    'refuses %s milliseconds before it touches a stream',
    (ms) => {
      // A timer would take them for one millisecond.
      for (const name of ['idleTimeoutMs', 'drainTimeoutMs']) {
        const [a] = duplexPair()
        const [b] = duplexPair()
        expect(() => relay(a, b, { [name]: ms })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
        expect([a.listenerCount('error'), a.readableFlowing]).toEqual([0, null])
      }
    },
  )
})

function assertFails(): never {
  throw new Error('boom')
}
