import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:net'
import { Duplex, duplexPair, Readable } from 'node:stream'
import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import {
  type ClosedInfo,
  createOutbound,
  createSocksServer,
  noAuth,
  type ServerOptions,
  userPass,
} from '../../src/server/index.js'
import { connectRequest, credentials, GREETING_NO_AUTH, GREETING_USER_PASS, RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'

describe('options', () => {
  it.each([
    { authorise: () => true },
    { auth: 'none' },
    { auth: [] },
    { auth: [noAuth(), noAuth()] },
    { auth: { type: 'gssapi', code: 1 } },
    { auth: null },
    { handshakeTimeoutMs: '10' },
    { handshakeTimeoutMs: -1 },
    { handshakeTimeoutMs: Number.NaN },
    { drainTimeoutMs: 2 ** 31 },
    { dialTimeoutMs: Number.POSITIVE_INFINITY },
    { authorize: true },
    { egress: 'public' },
    { lookup: {} },
    { dial: {} },
    { localAddress: 'eth0' },
    { allowAnonymous: 'yes' },
    { hideBoundAddress: 1 },
    { outbound: createOutbound(), authorize: () => true },
    null,
    'socks',
  ])('wrong options throw before anything is opened: %j', (options) => {
    let code: unknown
    try {
      // @ts-expect-error wrong on purpose
      createSocksServer(options)
    } catch (error) {
      code = codeOf(error)
    }
    expect(code).toMatch(/^ERR_(INVALID_ARG_VALUE|OUT_OF_RANGE)$/)
  })

  it('undefined stands for the default', () => {
    expect(() => createSocksServer({ auth: undefined, egress: undefined, dialTimeoutMs: undefined })).not.toThrow()
  })
})

describe('listen', () => {
  it('binds 127.0.0.1 unless told otherwise', async () => {
    const { server, port } = await startServer()
    expect(server.addresses).toEqual([{ host: '127.0.0.1', port }])
  })

  it.each([
    { port: 0, host: '0.0.0.0' },
    { port: 0, host: '::' },
    { port: 0, host: '192.0.2.1' },
    { port: 0, host: '::ffff:192.0.2.1' },
  ])('refuses to be an open proxy on %j', async (where) => {
    const listen = vi.spyOn(Object.getPrototypeOf(createServer()), 'listen')
    try {
      await expect(createSocksServer().listen(where)).rejects.toMatchObject({ code: 'ERR_SOCKS_OPEN_PROXY' })
      await expect(createSocksServer({ auth: [userPass({ u: 'p' }), noAuth()] }).listen(where)).rejects.toMatchObject({
        code: 'ERR_SOCKS_OPEN_PROXY',
      })
      expect(listen).not.toHaveBeenCalled()
    } finally {
      listen.mockRestore()
    }
  })

  it.each([
    { auth: userPass({ u: 'p' }) },
    { authorize: () => true },
    { allowAnonymous: true },
    { outbound: createOutbound({ authorize: () => true }) },
  ] satisfies ServerOptions[])('three ways out of the open proxy: %j', async (options) => {
    const server = createSocksServer(options)
    cleanup(() => server.close())
    await server.listen({ port: 0, host: '0.0.0.0' })
  })

  it.each([[{ port: 70_000 }], [-1], [1.5], [{ port: '1080' }], [{ host: '' }], [{ prot: 1 }], ['1080'], [null]])(
    'rejects %j',
    async (where) => {
      // @ts-expect-error wrong on purpose
      await expect(createSocksServer().listen(where)).rejects.toSatisfy((error) => /^ERR_/.test(String(codeOf(error))))
    },
  )

  it('a busy port rejects with the error of the system, and the server can listen elsewhere', async () => {
    const { port } = await startServer()
    const server = createSocksServer()
    cleanup(() => server.close())
    await expect(server.listen(port)).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await server.listen(0)
  })

  it('listens on several addresses at once', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { server, port } = await startServer()
    const second = await server.listen({ port: 0, host: '::1' })
    expect(server.addresses).toEqual([{ host: '127.0.0.1', port }, second])
    const client = await RawClient.connect(second.port, { host: '::1' })
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port)]))
    expect((await client.read(4)).slice(4)).toBe('0500')
    client.stream.destroy()
  })
})

describe('close and streams that never say they are destroyed', () => {
  it('gives them up after the grace', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const { server } = await startServer()
      const stuck = new Duplex({ read() {}, write() {}, destroy() {} })
      server.handle(stuck)
      const closing = server.close({ graceMs: 50 })
      await vi.advanceTimersByTimeAsync(2_000)
      await closing
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('handle', () => {
  it('serves a stream that is no socket', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { server } = await startServer()
    const [near, far] = duplexPair()
    const session = server.handle(near, { clientAddress: '::ffff:127.0.0.1', clientPort: 7 })
    expect(session).toMatchObject({ clientAddress: '127.0.0.1', clientPort: 7 })
    const client = new RawClient(far)
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port), Buffer.from('x')]))
    client.end()
    expect((await client.readToEnd()).subarray(12).toString()).toBe('x')
  })

  it('without clientAddress the client counts as remote', async () => {
    const { server } = await startServer()
    const [near, far] = duplexPair()
    server.handle(near)
    const client = new RawClient(far)
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', 9)]))
    expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0502')
    client.end()
  })

  it('reads what arrived, and the end that came, before it was called', async () => {
    const { server } = await startServer({ authorize: () => false })
    const [near, far] = duplexPair()
    far.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', 9)]))
    far.end()
    await new Promise(setImmediate)
    server.handle(near)
    expect((await new RawClient(far).readToEnd()).toString('hex')).toBe('050005020001000000000000')
  })

  it('a stream that is gone already is closed, not leaked', async () => {
    const { server, closed } = await startServer()
    const closing = closed()
    const [near] = duplexPair()
    near.destroy()
    server.handle(near)
    expect(await closing).toMatchObject({ reason: 'empty' })
    const again = closed()
    const [other] = duplexPair()
    other.destroy()
    await once(other, 'close')
    server.handle(other)
    expect(await again).toMatchObject({ reason: 'empty' })
  })

  it('refuses what is no stream of bytes', async () => {
    const { server } = await startServer()
    const objects = new Duplex({ objectMode: true })
    const text = new Duplex({ read() {} })
    text.setEncoding('utf8')
    for (const stream of [null, {}, new EventEmitter(), new Readable(), objects, text]) {
      // @ts-expect-error wrong on purpose
      expect(() => server.handle(stream)).toThrow(TypeError)
    }
    for (const clientAddress of ['localhost', '127.0.0.1%x%y', '', 5, null]) {
      // @ts-expect-error some are not even text
      expect(() => server.handle(duplexPair()[0], { clientAddress })).toThrow(TypeError)
    }
    // @ts-expect-error misspelt: the client would count as remote
    expect(() => server.handle(duplexPair()[0], { address: '127.0.0.1' })).toThrow(TypeError)
    // @ts-expect-error misspelt
    await expect(server.close({ grace: 1 })).rejects.toThrow(TypeError)
  })

  it('a server that is closed destroys what it is given', async () => {
    const { server } = await startServer()
    await server.close()
    const [near] = duplexPair()
    server.handle(near)
    expect(near.destroyed).toBe(true)
  })
})

describe('events', () => {
  it('tell who, where, how much and how long, and hold no password', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { server, client: connect } = await startServer({ auth: userPass({ alice: 'wonderland-secret' }) })
    const events: [string, unknown][] = []
    for (const name of ['session', 'request', 'established', 'denied', 'closed'] as const) {
      server.on(name, (info: unknown) => events.push([name, info]))
    }
    const closing = new Promise<ClosedInfo>((resolve) => server.once('closed', resolve))
    const client = await connect()
    client.write(
      Buffer.concat([
        GREETING_USER_PASS,
        credentials('alice', 'wonderland-secret'),
        connectRequest('127.0.0.1', echo.port),
      ]),
    )
    client.write(Buffer.from('12345'))
    client.end()
    await client.readToEnd()
    const info = await closing
    expect(events.map(([name]) => name)).toEqual(['session', 'request', 'established', 'closed'])
    expect(info).toMatchObject({
      identity: { username: 'alice' },
      destination: { type: 'ipv4', host: '127.0.0.1', port: echo.port },
      bytesUp: 5,
      bytesDown: 5,
      reason: 'end',
      error: undefined,
    })
    expect(info.durationMs).toBeGreaterThan(0)
    expect(info.session.signal.aborted).toBe(true)
    for (const text of [inspect(events, { depth: 9, showHidden: true }), JSON.stringify(events)]) {
      expect(text).not.toContain('wonderland-secret')
      expect(text).not.toContain(Buffer.from('wonderland-secret').toString('hex'))
    }
  })

  it('a denial is told with its error, in denied and in closed', async () => {
    const { server, client: connect, closed, errors } = await startServer({ authorize: () => 4 })
    const denied = new Promise((resolve) => server.once('denied', resolve))
    const closing = closed()
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('a.example', 80)]))
    expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0504')
    client.end()
    const error = { code: 'ERR_SOCKS_NOT_ALLOWED', replyCode: 4 }
    expect(await denied).toMatchObject({ error, identity: {}, destination: { host: 'a.example' } })
    expect(await closing).toMatchObject({ reason: 'refused', error })
    expect(errors).toEqual([])
  })

  it('a listener that throws does not unwind the connection: its error comes out on its own', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { server, client: connect } = await startServer()
    const thrown = new Error('listener bug')
    for (const name of ['session', 'request', 'established'] as const) {
      server.once(name, () => {
        throw thrown
      })
    }
    const surfaced: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', (error) => surfaced.push(error))
    try {
      const client = await connect()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port), Buffer.from('x')]))
      client.end()
      expect((await client.readToEnd()).subarray(12).toString()).toBe('x')
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
    expect(surfaced).toEqual([thrown, thrown, thrown])
  })

  it('without an error listener nothing is thrown', async () => {
    const server = createSocksServer()
    cleanup(() => server.close({ graceMs: 0 }))
    const { port } = await server.listen(0)
    const client = await RawClient.connect(port)
    client.write('ff')
    await client.readToEnd()
    client.stream.destroy()
  })
})

describe('close', () => {
  it('drops what has asked for nothing, waits for tunnels, and accepts nobody', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const { server, client: connect, port } = await startServer()
    const idle = await connect()
    idle.write('05')
    const busy = await connect()
    busy.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
    await busy.read(12)
    const far = await target.connection()
    const closing = server.close({ graceMs: 20_000 })
    await idle.readToEnd()
    await expect(RawClient.connect(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await expect(server.listen(0)).rejects.toMatchObject({ code: 'ERR_SOCKS_SERVER_CLOSED' })
    far.end('goodbye')
    busy.end()
    expect((await busy.readToEnd()).toString()).toBe('goodbye')
    await closing
    await server.close()
  })

  it('destroys what is left when the grace is over, on both sides', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const { server, client: connect, closed } = await startServer()
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
    await client.read(12)
    const far = await target.connection()
    const gone = new Promise((resolve) => far.resume().once('close', resolve))
    const told = closed()
    await server.close({ graceMs: 30 })
    expect(await told).toMatchObject({ reason: 'shutdown', error: { code: 'ERR_SOCKS_SERVER_CLOSED' } })
    await gone
    await client.closed
  })

  it('with graceMs 0, and as async disposal, ends at once, also while a hook never settles', async () => {
    for (const how of ['close', 'dispose'] as const) {
      const asked = new EventEmitter()
      const { server, client: connect } = await startServer({
        authorize: () => {
          asked.emit('asked')
          return new Promise(() => {})
        },
      })
      const client = await connect()
      const waiting = once(asked, 'asked')
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', 9)]))
      await waiting
      await (how === 'close' ? server.close({ graceMs: 0 }) : server[Symbol.asyncDispose]())
      await client.readToEnd()
    }
  })

  it('may be called before listen, twice, and from a listener of its own events', async () => {
    const server = createSocksServer()
    server.on('closed', () => void server.close())
    await Promise.all([server.close(), server.close()])
    await expect(server.listen(0)).rejects.toMatchObject({ code: 'ERR_SOCKS_SERVER_CLOSED' })
  })
})
