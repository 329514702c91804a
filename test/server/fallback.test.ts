import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, get } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls'
import { describe, expect, it, vi } from 'vitest'
import type { ClosedInfo, DeniedInfo, ServerOptions, Session } from '../../src/server/index.js'
import { CERTIFICATE, PRIVATE_KEY } from '../client/certificate.js'
import { deferred } from '../support/deferred.js'
import { createHttpDoor } from '../support/http-door.js'
import { connectRequest, GREETING_NO_AUTH, type RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, type Fixture, startServer } from '../support/servers.js'
import { REJECTED, socks4Request } from '../support/socks4.js'
import { startEcho, type Target } from '../support/targets.js'

const NOTHING = createHash('sha256').digest('hex')
const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

/** A server that hands HTTP to a real HTTP server on the same port. */
async function startShared(options: ServerOptions = {}): Promise<Fixture> {
  const door = createHttpDoor(() => fixture.server.outbound)
  const fixture: Fixture = await startServer({ socks4: true, fallback: door.fallback, ...options })
  return fixture
}

/** A server whose fallback takes one socket and does nothing with it. */
async function startTaking(options: ServerOptions = {}) {
  const taken = deferred<{ socket: Duplex; session: Session }>()
  const fallback = (socket: Duplex, session: Session): void => {
    cleanup(() => socket.destroy())
    taken.resolve({ socket, session })
  }
  return { ...(await startServer({ fallback, ...options })), taken: taken.promise }
}

async function startEchoTarget(): Promise<Target> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo
}

/** Status and body of the next response, which has a Content-Length. */
async function response(client: RawClient): Promise<[status: number, body: string]> {
  let head = ''
  while (!head.endsWith('\r\n\r\n')) {
    const byte = await client.read(1)
    if (byte === '') throw new Error(`ended after ${JSON.stringify(head)}`)
    head += Buffer.from(byte, 'hex').toString('latin1')
  }
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
  return [Number(head.split(' ')[1]), Buffer.from(await client.read(length), 'hex').toString()]
}

describe('fallback to node:http on the port of SOCKS', () => {
  it('S12 answers requests one after the other on one connection, beside SOCKS4 and SOCKS5', async () => {
    const fixture = await startShared()
    const echo = await startEchoTarget()
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(Buffer.from(GET))
    expect(await response(client)).toEqual([200, `GET / ${NOTHING}`])
    client.write(Buffer.from('GET /again HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'))
    expect(await response(client)).toEqual([200, `GET /again ${NOTHING}`])
    await client.readToEnd()
    expect(await closing).toMatchObject({ reason: 'fallback', error: undefined, destination: undefined })
    for (const request of [
      socks4Request('127.0.0.1', echo.port),
      Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port)]),
    ]) {
      const socks = await fixture.client()
      socks.write(Buffer.concat([request, Buffer.from('x')]))
      socks.end()
      expect(String(await socks.readToEnd()).endsWith('x')).toBe(true)
    }
    expect(fixture.errors).toEqual([])
  })

  it('S12 byte by byte, and with every request of a pipeline in the first segment', async () => {
    const fixture = await startShared()
    const slow = await fixture.client()
    for (const byte of Buffer.from(GET)) await slow.send(Buffer.from([byte]))
    expect(await response(slow)).toEqual([200, `GET / ${NOTHING}`])
    const eager = await fixture.client()
    eager.write(Buffer.from(GET.repeat(50)))
    for (let round = 0; round < 50; round++) expect(await response(eager)).toEqual([200, `GET / ${NOTHING}`])
  })

  it('S12 a body of 1 MiB that comes with the first byte arrives whole', async () => {
    const fixture = await startShared()
    const body = randomBytes(1_048_576)
    const client = await fixture.client()
    client.write(
      Buffer.concat([Buffer.from(`POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`), body]),
    )
    expect(await response(client)).toEqual([200, `POST /up ${createHash('sha256').update(body).digest('hex')}`])
  })

  it('S12 HTTP CONNECT goes out by the same rules, with what the client sent early', async () => {
    const echo = await startEchoTarget()
    const authorize = vi.fn(({ host }: { host: string }) => host !== 'denied.example')
    const fixture = await startShared({ authorize })
    const client = await fixture.client()
    client.write(Buffer.from(`CONNECT 127.0.0.1:${echo.port} HTTP/1.1\r\nHost: x\r\n\r\nearly`))
    expect(await response(client)).toEqual([200, ''])
    client.stream.end(' and late')
    expect(String(await client.readToEnd())).toBe('early and late')
    const denied = await fixture.client()
    denied.write(Buffer.from('CONNECT denied.example:443 HTTP/1.1\r\nHost: x\r\n\r\n'))
    expect(await response(denied)).toEqual([403, ''])
    // The loop guard counts, too.
    const loop = await fixture.client()
    loop.write(Buffer.from(`CONNECT localhost:${fixture.port} HTTP/1.1\r\nHost: x\r\n\r\n`))
    expect(await response(loop)).toEqual([403, ''])
    expect(authorize).toHaveBeenCalledWith(expect.objectContaining({ command: 'connect', clientAddress: '127.0.0.1' }))
  })

  it('S12 a request for an absolute URL goes out by it', async () => {
    const site = createServer((request, answer) => answer.end(`site ${request.url}`)).listen(0, '127.0.0.1')
    cleanup(() => site.close())
    await once(site, 'listening')
    const { port } = site.address() as AddressInfo // it listens
    const fixture = await startShared()
    const path = `http://127.0.0.1:${port}/page`
    const [answer] = await once(get({ port: fixture.port, host: '127.0.0.1', path, agent: false }), 'response')
    expect(String(await answer.toArray())).toBe('site /page')
  })

  it('S13 a TLS client is handed to a TLS server, certificate and all', async () => {
    const tls = createTlsServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, (socket) => socket.pipe(socket))
    const fixture = await startServer({ fallback: (socket) => tls.emit('connection', socket) })
    const options = { port: fixture.port, host: '127.0.0.1', ca: CERTIFICATE }
    const socket = tlsConnect(options)
    cleanup(() => socket.destroy())
    await once(socket, 'secureConnect')
    const body = randomBytes(300_000)
    socket.write(body)
    let received = Buffer.alloc(0)
    for await (const chunk of socket) {
      received = Buffer.concat([received, chunk])
      if (received.length === body.length) break
    }
    expect(received.equals(body)).toBe(true)
  })
})

describe('the socket that fallback gets', () => {
  it('is idle, every byte unread, and has no listener of the server but the guard', async () => {
    const fixture = await startTaking()
    const client = await fixture.client()
    client.write(Buffer.from('Hello'))
    const { socket, session } = await fixture.taken
    expect([socket.readableFlowing, socket.isPaused(), socket.readableLength]).toEqual([null, false, 5])
    expect(
      ['data', 'readable', 'close', 'finish', 'drain', 'pause', 'resume'].map((name) => socket.listenerCount(name)),
    ).toEqual([0, 0, 0, 0, 0, 0, 0])
    expect(socket.listenerCount('error')).toBe(1)
    expect(session).toMatchObject({ id: 1, clientAddress: '127.0.0.1', isLocal: true, identity: undefined })
    // What comes now waits, too, and nothing closes it.
    client.stream.end(' there')
    await vi.waitFor(() => expect(socket.readableLength).toBe(11), 10_000)
    let text = ''
    for await (const chunk of socket) text += chunk
    expect(text).toBe('Hello there')
  })

  it.each(['data', 'readable', 'pipe', 'resume'])('starts by %s alone, at once and later', async (how) => {
    for (const isLater of [false, true]) {
      const received = deferred<string>()
      const start = (socket: Duplex): void => {
        if (how === 'data') socket.on('data', (chunk) => received.resolve(String(chunk)))
        if (how === 'readable') socket.on('readable', () => received.resolve(String(socket.read())))
        if (how === 'pipe') {
          const [sink, source] = duplexPair()
          source.on('data', (chunk) => received.resolve(String(chunk)))
          socket.pipe(sink)
        }
        if (how === 'resume') {
          socket.resume()
          socket.once('data', (chunk) => received.resolve(String(chunk)))
        }
      }
      const { client } = await startServer({
        fallback: (socket) => {
          cleanup(() => socket.destroy())
          if (isLater) setTimeout(start, 20, socket)
          else start(socket)
        },
      })
      ;(await client()).write(Buffer.from('Hello'))
      expect(await received.promise).toBe('Hello')
    }
  })

  it.each([1, 65_536, 200_000])('a FIN right behind %s bytes is still to come', async (length) => {
    const fixture = await startTaking()
    const client = await fixture.client()
    client.stream.end(Buffer.alloc(length, 'G'))
    const { socket } = await fixture.taken
    let received = 0
    for await (const chunk of socket) received += chunk.length
    expect(received).toBe(length)
    expect(fixture.errors).toEqual([])
  })

  it('a reset behind the first byte ends no process', async () => {
    const fixture = await startTaking()
    const client = await fixture.client()
    await client.send(Buffer.from('G'))
    const { socket } = await fixture.taken
    client.reset()
    socket.resume()
    await new Promise((resolve) => socket.once('close', resolve))
    expect(socket.errored).toMatchObject({ code: 'ECONNRESET' })
    expect(fixture.errors).toEqual([])
  })

  it('may be any stream that handle was given', async () => {
    const { server, taken } = await startTaking()
    const [near, far] = duplexPair()
    server.handle(near)
    far.end('Hello')
    const { socket, session } = await taken
    expect(socket).toBe(near)
    expect(session.isLocal).toBe(false)
    expect(String(await socket.toArray())).toBe('Hello')
  })
})

describe('what fallback is asked about', () => {
  it('is neither SOCKS, served or not, nor silence, nor a client that leaves without a byte', async () => {
    const fallback = vi.fn()
    const fixture = await startServer({ fallback, handshakeTimeoutMs: 50 })
    const reasons: string[] = []
    fixture.server.on('closed', ({ reason }) => reasons.push(reason))
    for (const bytes of [socks4Request('127.0.0.1', 80), Buffer.from([5, 1, 0, 9]), Buffer.from([5])]) {
      const client = await fixture.client()
      client.write(bytes)
      await client.readToEnd()
      client.end()
    }
    ;(await fixture.client()).end()
    await (await fixture.client()).readToEnd()
    await vi.waitFor(() => expect(reasons).toHaveLength(5), 10_000)
    expect(reasons.sort()).toEqual(['empty', 'handshake-timeout', 'handshake-timeout', 'refused', 'refused'])
    expect(fallback).not.toHaveBeenCalled()
  })

  it('is the first byte alone: what comes later is the protocol’s to judge', async () => {
    const fallback = vi.fn()
    const { client, errors } = await startServer({ fallback, socks4: true })
    const greeted = await client()
    await greeted.send(GREETING_NO_AUTH)
    greeted.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    expect((await greeted.readToEnd()).toString('hex')).toBe('0500')
    const four = await client()
    await four.send(Buffer.from([4]))
    four.write(Buffer.concat([Buffer.from([1, 0, 80, 0, 0, 0, 1, 0]), Buffer.alloc(256, 'G')]))
    expect((await four.readToEnd()).toString('hex')).toBe(REJECTED)
    expect(fallback).not.toHaveBeenCalled()
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_PEER_IS_HTTP', 'ERR_SOCKS_INVALID_HOST'])
  })

  it('S138 comes behind the header of a proxy in front, in its segment or in a later one', async () => {
    const echo = await startEchoTarget()
    const header = Buffer.from('PROXY TCP4 127.0.0.1 127.0.0.1 1000 2000\r\n')
    const request = Buffer.from(`CONNECT 127.0.0.1:${echo.port} HTTP/1.1\r\nHost: x\r\n\r\n`)
    const whole = Buffer.concat([header, request])
    for (const segments of [[whole], [header, request], Array.from(whole, (byte) => Buffer.from([byte]))]) {
      const fixture = await startShared({ proxyProtocol: ['127.0.0.1'] })
      const told = new Promise<Session>((resolve) => fixture.server.once('session', resolve))
      const client = await fixture.client()
      for (const segment of segments) await client.send(segment)
      // Loopback of the proxy in front is not ours.
      expect(await response(client)).toEqual([403, ''])
      expect(await told).toMatchObject({ clientAddress: '127.0.0.1', clientPort: 1000, isLocal: false })
    }
    // What is no header is not handed over: it was the proxy in front that broke its word.
    const fallback = vi.fn()
    const fixture = await startServer({ proxyProtocol: ['127.0.0.1'], fallback })
    const client = await fixture.client()
    client.write(Buffer.from(GET))
    expect((await client.readToEnd()).length).toBe(0)
    expect(fallback).not.toHaveBeenCalled()
  })
})

describe('a fallback that fails', () => {
  it.each([
    [
      'throws',
      () => {
        throw new Error('boom')
      },
    ],
    ['rejects', () => Promise.reject(new Error('boom'))],
  ])('%s: the socket is destroyed, and the fault told', async (_what, fallback) => {
    const fixture = await startServer({ fallback })
    const told: [string, unknown][] = []
    fixture.server.on('closed', ({ reason }: ClosedInfo) => told.push(['closed', reason]))
    fixture.server.on('denied', ({ rule }: DeniedInfo) => told.push(['denied', rule]))
    const client = await fixture.client()
    client.write(Buffer.from(GET))
    await client.readToEnd()
    expect(fixture.errors).toMatchObject([{ code: 'ERR_SOCKS_HOOK_FAILED', cause: { message: 'boom' } }])
    expect(told).toEqual([
      ['closed', 'fallback'],
      ['denied', 'fallback hook'],
    ])
    expect(fixture.server.stats()).toMatchObject({ connections: 0, handshakes: 0, denied: 1 })
  })

  it('never settles, and keeps the socket: it is counted no longer, and close does not wait for it', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    cleanup(() => vi.useRealTimers())
    const echo = await startEchoTarget()
    const taken = deferred<Socket>()
    const fixture = await startServer({
      maxConnections: 1,
      maxConnectionsPerClient: 1,
      fallback: (socket) => {
        cleanup(() => socket.destroy())
        taken.resolve(socket as Socket) // `listen` accepts sockets
        return new Promise(() => {})
      },
    })
    const client = await fixture.client()
    client.write(Buffer.from('G'))
    const socket = await taken.promise
    expect(fixture.server.stats()).toMatchObject({ connections: 0, handshakes: 0, accepted: 1, failed: 0, denied: 0 })
    // Its place is free.
    const other = await fixture.client()
    other.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port), Buffer.from('x')]))
    other.end()
    expect(String((await other.readToEnd()).subarray(12))).toBe('x')
    // Past the deadline of a handshake, and past the server: the socket is its new owner's.
    vi.advanceTimersByTime(3_600_000)
    await fixture.server.close({ graceMs: 0 })
    await expect(once(connect(fixture.port, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    expect(socket.destroyed).toBe(false)
    socket.end('still here')
    expect(String(await client.readToEnd())).toBe('still here')
  })
})
