import { EventEmitter, once } from 'node:events'
import { Duplex, duplexPair, PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { describe, expect, it, vi } from 'vitest'
import {
  type Authenticated,
  type Authenticator,
  type ClosedInfo,
  createSocksServer,
  customAuth,
  type ServerOptions,
} from '../../src/server/index.js'
import { CERTIFICATE, PRIVATE_KEY } from '../client/certificate.js'
import { deferred } from '../support/deferred.js'
import { descriptors, settlesAt } from '../support/descriptors.js'
import { connectRequest, hex, RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, type Fixture, startServer } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'

const CODE = 0x80
const GREETING = hex('05 01 80')
const GRANTED = '05000001000000000000'
const REQUEST = connectRequest('echo.example', 7)
const IDENTITY = { name: 'somebody' }
const MEBIBYTE = Buffer.from(Uint8Array.from({ length: 1_048_576 }, (_, index) => index * 31 + (index >> 8)))

type Wrap = NonNullable<Authenticated['wrap']>

/** Admits everybody, after one byte, and puts `wrap` around what follows. */
function wrapping(wrap: Wrap): Authenticator {
  return async (channel) => {
    await channel.readExactly(1)
    return { identity: IDENTITY, wrap }
  }
}

/** A cipher that is its own inverse, as a stream that takes all it gets at once, and knows nothing of half-close tricks. */
function xor(inner: Duplex): Duplex {
  const flip = (bytes: Uint8Array) => Uint8Array.from(bytes, (byte) => byte ^ 0x5a)
  const outer = new Duplex({
    read: () => inner.resume(),
    write: (chunk, _encoding, callback) => void inner.write(flip(chunk), callback),
    final: (callback) => void inner.end(callback),
  })
  inner.on('data', (chunk) => outer.push(flip(chunk)) || inner.pause())
  inner.on('end', () => outer.push(null))
  return outer
}
const flipped = (bytes: Uint8Array) => Buffer.from(bytes.map((byte) => byte ^ 0x5a))

/** A server and a client of it in memory, and what its target got. */
function inMemory(method: Authenticator, options: ServerOptions = {}) {
  const server = createSocksServer({
    auth: customAuth(CODE, method),
    dial: () => {
      const [near, far] = duplexPair()
      far.pipe(far)
      return near
    },
    ...options,
  })
  const errors: Error[] = []
  server.on('error', (error) => errors.push(error))
  const closed = new Promise<ClosedInfo>((resolve) => server.once('closed', resolve))
  const [near, far] = duplexPair()
  const client = new RawClient(far)
  server.handle(near, { clientAddress: '127.0.0.1' })
  cleanup(() => server.close({ graceMs: 0 }))
  return { server, errors, closed, near, client }
}

describe('the wrapper of a custom method', () => {
  it('S136 takes what follows at every split, pipelined with the method, though the FIN came with it', async () => {
    const inside = Buffer.concat([REQUEST, Buffer.from('payload')])
    const bytes = Buffer.concat([GREETING, hex('00'), flipped(inside)])
    const pieces = [[bytes], Array.from(bytes, (byte) => Uint8Array.of(byte))]
    for (let point = 1; point < bytes.length; point++) pieces.push([bytes.subarray(0, point), bytes.subarray(point)])
    for (const split of pieces) {
      const { client, closed, errors } = inMemory(wrapping(xor))
      for (const piece of split.slice(0, -1)) await client.send(piece)
      client.stream.end(split.at(-1))
      const answer = await client.readToEnd()
      expect(answer.subarray(0, 2).toString('hex')).toBe('0580')
      expect(flipped(answer.subarray(2)).toString('hex')).toBe(GRANTED + Buffer.from('payload').toString('hex'))
      expect(await closed).toMatchObject({ reason: 'end', identity: IDENTITY, bytesUp: 7, bytesDown: 7 })
      expect(errors).toEqual([])
    }
  })

  it('S136 gets the stream idle: by data, by readable, by pipe, and by a promise that waits for its bytes', async () => {
    const pull = (inner: Duplex) =>
      new Duplex({
        read() {
          const take = (): void => {
            const chunk = inner.read()
            if (chunk !== null) this.push(chunk)
            else if (inner.readableEnded) this.push(null)
            else inner.once(inner.readableLength === 0 ? 'readable' : 'end', take)
          }
          take()
        },
        write: (chunk, _encoding, callback) => void inner.write(chunk, callback),
        final: (callback) => void inner.end(callback),
      })
    const wraps: readonly Wrap[] = [
      (inner) => inner,
      pull,
      (inner) => Duplex.from({ readable: inner.pipe(new PassThrough()), writable: inner }),
      async (inner) => {
        const [first] = await once(inner, 'data')
        inner.pause()
        inner.unshift(first)
        return inner
      },
    ]
    for (const wrap of wraps) {
      const idle = vi.fn()
      const { client } = inMemory(
        wrapping((inner) => {
          idle(inner.readableFlowing, inner.isPaused(), inner.listenerCount('readable'), inner.listenerCount('data'))
          return wrap(inner)
        }),
      )
      client.write(Buffer.concat([GREETING, hex('00')]))
      expect(await client.read(2)).toBe('0580')
      client.write(REQUEST)
      expect(await client.read(10)).toBe(GRANTED)
      client.write('aa bb')
      expect(await client.read(2)).toBe('aabb')
      expect(idle).toHaveBeenCalledWith(null, false, 0, 0)
    }
  })

  it.each<[string, () => unknown, string]>([
    [
      'throws',
      () => {
        throw new Error('no certificate')
      },
      'Error',
    ],
    ['rejects', () => Promise.reject(new Error('no certificate')), 'Error'],
    ['returns undefined', () => undefined, 'TypeError'],
    ['resolves to null', async () => null, 'TypeError'],
    ['returns a name', () => 'tls', 'TypeError'],
    ['returns an object', () => ({ on: () => {}, write: () => {} }), 'TypeError'],
    ['returns an emitter', () => new EventEmitter(), 'TypeError'],
    ['returns a stream of objects', () => new PassThrough({ objectMode: true }), 'TypeError'],
    ['returns a stream of text', () => new PassThrough({ encoding: 'utf8' }), 'TypeError'],
    ['returns a stream that is destroyed', () => new PassThrough().destroy(), 'TypeError'],
  ])('S136 one that %s ends the connection', async (_what, wrap, cause) => {
    let made: unknown
    const { near, client, closed, errors } = inMemory(
      // @ts-expect-error what a method without types may return
      wrapping(() => {
        made = wrap()
        return made
      }),
      { authorize: () => Promise.reject(new Error('must not be asked')) },
    )
    client.write(Buffer.concat([GREETING, hex('00'), REQUEST]))
    expect(await client.read(2)).toBe('0580')
    expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_HOOK_FAILED' }, identity: undefined })
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_HOOK_FAILED'])
    expect(errors[0]?.cause).toMatchObject({ name: cause })
    expect(near.destroyed).toBe(true)
    if (made instanceof Duplex) expect(made.destroyed).toBe(true)
  })

  it('S136 one that never settles ends at the deadline; what it makes later is destroyed', async () => {
    const late = deferred<Duplex>()
    const {
      client: connect,
      closed,
      errors,
    } = await startServer({
      auth: customAuth(
        CODE,
        wrapping(() => late.promise),
      ),
      handshakeTimeoutMs: 40,
    })
    const closing = closed()
    const client = await connect()
    client.write(Buffer.concat([GREETING, hex('00')]))
    expect((await client.readToEnd()).toString('hex')).toBe('0580')
    expect(await closing).toMatchObject({ reason: 'handshake-timeout' })
    const stream = new PassThrough()
    late.resolve(stream)
    if (!stream.closed) await once(stream, 'close')
    stream.emit('error', new Error('late'))
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_HANDSHAKE_TIMEOUT'])
  })

  it('S136 a reset while it is waited for ends the connection, and what it makes later is destroyed', async () => {
    const asked = deferred()
    const late = deferred<Duplex>()
    const {
      client: connect,
      closed,
      errors,
    } = await startServer({
      auth: customAuth(
        CODE,
        wrapping((inner) => {
          inner.resume()
          asked.resolve()
          return late.promise
        }),
      ),
    })
    const closing = closed()
    const client = await connect()
    client.write(Buffer.concat([GREETING, hex('00')]))
    await asked.promise
    client.reset()
    expect(await closing).toMatchObject({ reason: 'aborted', error: { code: 'ERR_SOCKS_ABORTED' } })
    const stream = new PassThrough()
    late.resolve(stream)
    if (!stream.closed) await once(stream, 'close')
    expect(errors).toEqual([])
  })

  it('S136 a client that has left by the time is not wrapped', async () => {
    const wrap = vi.fn(xor)
    const { client, closed, errors } = inMemory(wrapping(wrap))
    client.stream.end(Buffer.concat([GREETING, hex('00')]))
    expect(await client.read(2)).toBe('0580')
    expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_CONNECTION_CLOSED' } })
    expect(wrap).not.toHaveBeenCalled()
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_CONNECTION_CLOSED'])
  })

  it('S136 a failure of it ends the connection and the stream it was put around; so does the end of either', async () => {
    for (const end of [
      (outer: Duplex) => outer.destroy(new Error('bad record')),
      (outer: Duplex) => outer.destroy(),
      (_outer: Duplex, inner: Duplex) => inner.destroy(),
    ]) {
      const made = deferred<Duplex>()
      const { near, client, closed } = inMemory(
        wrapping((inner) => {
          const outer = xor(inner)
          made.resolve(outer)
          return outer
        }),
      )
      client.write(Buffer.concat([GREETING, hex('00'), flipped(REQUEST)]))
      await client.read(12)
      const outer = await made.promise
      end(outer, near)
      expect(await closed).toMatchObject({ reason: 'reset' })
      expect([outer.destroyed, near.destroyed]).toEqual([true, true])
    }
  })

  it('S136 the last bytes of a client arrive at a slow target that has sent its FIN before', async () => {
    const reached = deferred<Duplex>()
    const { client, closed } = inMemory(wrapping(xor), {
      dial: () => {
        const [near, far] = duplexPair()
        reached.resolve(far)
        return near
      },
    })
    client.write(Buffer.concat([GREETING, hex('00'), flipped(REQUEST)]))
    await client.read(12)
    const target = await reached.promise
    target.end()
    await client.readToEnd()
    for (let at = 0; at < MEBIBYTE.length; at += 8_192) client.write(flipped(MEBIBYTE.subarray(at, at + 8_192)))
    client.end()
    let received = 0
    for await (const chunk of target) {
      received += chunk.length
      await sleep(1)
    }
    expect(received).toBe(MEBIBYTE.length)
    expect(await closed).toMatchObject({ reason: 'end', bytesUp: MEBIBYTE.length })
  })
})

/** Upgrades to TLS after one byte, as gost does by a method of its own. */
const upgrade = customAuth(
  CODE,
  wrapping((inner) => new TLSSocket(inner, { isServer: true, cert: CERTIFICATE, key: PRIVATE_KEY })),
)

/** A client of `fixture` that has gone through TLS. */
async function secureClient(fixture: Fixture): Promise<{ plain: RawClient; client: RawClient }> {
  const plain = await fixture.client()
  plain.stream.removeAllListeners('data')
  plain.stream.pause()
  plain.write(Buffer.concat([GREETING, hex('00')]))
  const chosen = await new Promise((resolve) => {
    plain.stream.once('readable', () => resolve(plain.stream.read(2)))
  })
  expect(chosen).toEqual(hex('05 80'))
  const socket = connectTls({ socket: plain.stream, ca: CERTIFICATE, servername: 'localhost' })
  socket.allowHalfOpen = true
  const client = new RawClient(socket)
  await once(socket, 'secureConnect')
  return { plain, client }
}

describe('an upgrade to TLS', () => {
  it('S136 carries the request and 1 MiB each way, with half-close', async () => {
    const target = await startTarget((socket) => {
      // Says all it has to say after it has heard all.
      const heard: Buffer[] = []
      socket.on('data', (chunk) => heard.push(chunk))
      socket.on('end', () => socket.end(Buffer.concat(heard)))
    })
    cleanup(() => target.close())
    const fixture = await startServer({ auth: upgrade })
    const closing = fixture.closed()
    const { client } = await secureClient(fixture)
    client.write(connectRequest('127.0.0.1', target.port))
    expect((await client.read(10)).slice(0, 8)).toBe('05000001')
    client.write(MEBIBYTE)
    client.end()
    expect(MEBIBYTE.equals(await client.readToEnd())).toBe(true)
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: MEBIBYTE.length, bytesDown: MEBIBYTE.length })
    expect(fixture.errors).toEqual([])
  })

  it('S136 works on a stream in memory, and with a promise of a finished handshake', async () => {
    const { client } = inMemory(
      wrapping(async (inner) => {
        const socket = new TLSSocket(inner, { isServer: true, cert: CERTIFICATE, key: PRIVATE_KEY })
        await once(socket, 'secure')
        return socket
      }),
    )
    client.write(Buffer.concat([GREETING, hex('00')]))
    expect(await client.read(2)).toBe('0580')
    client.stream.removeAllListeners('data')
    const socket = connectTls({ socket: client.stream, ca: CERTIFICATE, servername: 'localhost' })
    const secure = new RawClient(socket)
    secure.write(REQUEST)
    expect(await secure.read(10)).toBe(GRANTED)
    secure.write(MEBIBYTE)
    expect(await secure.read(MEBIBYTE.length)).toBe(MEBIBYTE.toString('hex'))
  })

  it.each(['client', 'target'] as const)('S136 a reset of the %s ends the other', async (who) => {
    const target = await startTarget()
    cleanup(() => target.close())
    const fixture = await startServer({ auth: upgrade })
    const closing = fixture.closed()
    const { plain, client } = await secureClient(fixture)
    client.write(connectRequest('127.0.0.1', target.port))
    await client.read(10)
    const socket = await target.connection()
    // TLS has no reset to pass on.
    const other = who === 'client' ? new Promise((resolve) => socket.on('close', resolve)) : client.readToEnd()
    if (who === 'client') plain.reset()
    else socket.resetAndDestroy()
    await other
    expect(await closing).toMatchObject({ reason: 'reset' })
  })

  it('S136 a client that speaks something else than TLS is closed, and nothing is thrown', async () => {
    const fixture = await startServer({ auth: upgrade })
    const closing = fixture.closed()
    const client = await fixture.client()
    client.write(Buffer.concat([GREETING, hex('00'), REQUEST, Buffer.alloc(100)]))
    await client.readToEnd()
    client.end()
    expect(await closing).toMatchObject({ reason: 'aborted', error: { code: 'ERR_SOCKS_ABORTED' } })
  })
})

describe('nothing of a custom method is left behind', () => {
  const ROUNDS = 100
  const kinds: Readonly<Record<string, { auth: ServerOptions['auth']; run: (client: RawClient) => unknown }>> = {
    denial: {
      auth: customAuth(CODE, () => false),
      run: async (client) => {
        client.write(Buffer.concat([GREETING, REQUEST]))
        await client.readToEnd()
        client.end()
      },
    },
    deadline: {
      auth: customAuth(CODE, async (channel) => {
        await channel.readExactly(9)
        return { identity: IDENTITY }
      }),
      run: async (client) => {
        client.write(GREETING)
        await client.readToEnd()
        client.end()
      },
    },
    reset: {
      auth: customAuth(CODE, () => new Promise(() => {})),
      run: async (client) => {
        client.write(GREETING)
        await client.read(2)
        client.reset()
      },
    },
    'a wrap that fails': {
      auth: customAuth(
        CODE,
        wrapping(() => Promise.reject(new Error('no certificate'))),
      ),
      run: async (client) => {
        client.write(Buffer.concat([GREETING, hex('00')]))
        await client.readToEnd()
        client.end()
      },
    },
    'garbage for TLS': {
      auth: upgrade,
      run: async (client) => {
        client.write(Buffer.concat([GREETING, hex('00'), Buffer.alloc(50)]))
        await client.readToEnd()
        client.end()
      },
    },
    'a reset in the middle of TLS': {
      auth: upgrade,
      run: async (client) => {
        client.write(Buffer.concat([GREETING, hex('00 16 03 01')]))
        await client.read(2)
        client.reset()
      },
    },
  }

  it.each(Object.keys(kinds))(`S136 ${ROUNDS} times: %s`, async (name) => {
    const kind = kinds[name]
    if (kind === undefined) throw new Error('no such kind')
    const signals: AbortSignal[] = []
    const { server, port } = await startServer({
      auth: kind.auth,
      handshakeTimeoutMs: name === 'deadline' ? 20 : 5_000,
    })
    server.on('session', ({ signal }) => signals.push(signal))
    const before = descriptors()
    let left = ROUNDS
    const closed = new Promise<void>((resolve) => server.on('closed', () => --left === 0 && resolve()))
    for (let round = 0; round < ROUNDS; round += 20) {
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(port)))
      await Promise.all(clients.map(kind.run))
      await Promise.all(clients.map((client) => client.closed))
    }
    await closed
    expect(await settlesAt(descriptors, before)).toBe(before)
    expect(signals.map((signal) => [signal.aborted, EventEmitter.getEventListeners(signal, 'abort').length])).toEqual(
      signals.map(() => [true, 0]),
    )
  })

  it('S136 the stream of a client keeps guards and what the wrapper needs, and no reader of the handshake', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { client, near, closed } = inMemory(wrapping(xor))
    client.write(Buffer.concat([GREETING, hex('00'), flipped(REQUEST)]))
    await client.read(12)
    const counts = Object.fromEntries(near.eventNames().map((name) => [name, near.listenerCount(name)]))
    expect(counts).toMatchObject({ data: 1, error: 1 })
    expect(counts.readable ?? 0).toBe(0)
    client.end()
    expect(await closed).toMatchObject({ reason: 'end' })
    near.emit('error', new Error('late'))
  })
})
