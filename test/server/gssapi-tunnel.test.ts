import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { type ClosedInfo, type GssContext, gssapi, type ServerOptions } from '../../src/server/index.js'
import { concat } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { connectRequest, hex, type RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { startTarget } from '../support/targets.js'
import { frame, GRANTED, IDENTITY, inMemory, ToyClient, ToyGss } from './toy-gss.js'

const REQUEST = connectRequest('echo.example', 7)
const MEBIBYTE = Buffer.from(Uint8Array.from({ length: 1_048_576 }, (_, index) => index * 31 + (index >> 8)))

/** A client at the end of a negotiation of `level`, in memory, whose request goes to `target`. */
async function negotiated(level: number, context: GssContext = new ToyGss(), options: ServerOptions = {}) {
  const reached = deferred<Duplex>()
  const fixture = inMemory(
    { createContext: () => context },
    {
      dial: () => {
        const [near, far] = duplexPair()
        near.on('close', () => far.readableEnded || far.push(null))
        reached.resolve(far)
        return near
      },
      ...options,
    },
  )
  const client = new ToyClient(fixture.raw, level)
  await client.negotiate(level)
  return { ...fixture, client, context, target: reached.promise }
}

/** The same with an open tunnel, at level 2. */
async function tunnel(context: GssContext = new ToyGss(), options: ServerOptions = {}) {
  const fixture = await negotiated(2, context, options)
  fixture.raw.write(fixture.client.data(REQUEST))
  expect((await fixture.client.read(10)).toString('hex')).toBe(GRANTED)
  return { ...fixture, target: await fixture.target }
}

/** The same over TCP: the client, its socket at the target, and how it ends. */
async function tcpTunnel(context: () => GssContext = () => new ToyGss()) {
  const target = await startTarget()
  cleanup(() => target.close())
  const contexts: GssContext[] = []
  const createContext = () => {
    const made = context()
    contexts.push(made)
    return made
  }
  const { client: connect, closed, errors } = await startServer({ auth: gssapi({ createContext }) })
  const closing: Promise<ClosedInfo> = closed()
  const raw: RawClient = await connect()
  const client = new ToyClient(raw, 2)
  await client.negotiate(2)
  raw.write(client.data(connectRequest('127.0.0.1', target.port)))
  await client.read(10)
  const socket: Socket = await target.connection()
  return { raw, client, socket, closing, errors, contexts }
}

/** Everything a stream gives until its end. */
async function all(stream: Duplex): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  // Not by iteration, which would destroy the stream in the end.
  stream.on('data', (chunk) => chunks.push(chunk))
  await new Promise((resolve) => stream.on('end', resolve).on('close', resolve))
  return Buffer.concat(chunks)
}

/** A mechanism whose answers take their time, and not always the same. */
class SlowGss extends ToyGss {
  // @ts-expect-error the toy is synchronous
  override async wrap(message: Uint8Array, confidential: boolean): Promise<Uint8Array> {
    const token = super.wrap(message, confidential)
    if (token[1] !== undefined && token[1] % 3 === 0) await new Promise(setImmediate)
    return token
  }

  // @ts-expect-error the toy is synchronous
  override async unwrap(token: Uint8Array, confidential: boolean): Promise<Uint8Array> {
    const message = super.unwrap(token, confidential)
    if (token[1] !== undefined && token[1] % 4 === 0) await new Promise(setImmediate)
    return message
  }
}

describe('a tunnel that GSSAPI protects', () => {
  it.each<[string, () => GssContext]>([
    ['at once', () => new ToyGss()],
    ['by promises', () => new SlowGss() as GssContext], // a promise of what the toy returns
  ])('S135 carries 1 MiB each way at the same time, with messages made %s', async (_how, context) => {
    const { raw, client, socket, closing, contexts } = await tcpTunnel(context)
    const heard = all(socket)
    socket.end(MEBIBYTE)
    for (let at = 0; at < MEBIBYTE.length; at += 10_000) raw.write(client.data(MEBIBYTE.subarray(at, at + 10_000)))
    raw.end()
    expect(MEBIBYTE.equals(await client.read(Number.POSITIVE_INFINITY))).toBe(true)
    expect(MEBIBYTE.equals(await heard)).toBe(true)
    expect(await closing).toMatchObject({
      reason: 'end',
      identity: IDENTITY,
      bytesUp: MEBIBYTE.length,
      bytesDown: MEBIBYTE.length,
    })
    expect(contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
  })

  it('S135 no message is longer than the mechanism allows, 16384 bytes unless it says', async () => {
    for (const [maxMessage, longest] of [
      [undefined, 16_384],
      [5, 5],
      [65_000, 65_000],
    ] as const) {
      const context = new ToyGss(maxMessage)
      const { client, target, raw, closed } = await tunnel(context)
      target.resume().end(MEBIBYTE.subarray(0, 100_000))
      raw.end()
      expect(MEBIBYTE.subarray(0, 100_000).equals(await client.read(Number.POSITIVE_INFINITY))).toBe(true)
      const lengths = context.calls.filter(([name]) => name === 'wrap').map(([, length]) => length)
      expect(Math.max(...lengths)).toBe(longest)
      expect(await closed).toMatchObject({ reason: 'end' })
    }
  })

  it('S135 many frames in one segment, empty messages, and a token of 65535 bytes', async () => {
    const { client, raw, target } = await tunnel()
    const long = MEBIBYTE.subarray(0, 65_530)
    const parts = [hex(''), Buffer.from('a'), hex(''), hex(''), Buffer.from('bc'), long, hex(''), Buffer.from('d')]
    raw.stream.end(concat(...parts.map((part) => client.data(part))))
    expect(Buffer.concat(parts).equals(await all(target))).toBe(true)
    target.end()
  })

  it('S135 half-close by the client: the target answers after its FIN', async () => {
    const { raw, client, socket, closing } = await tcpTunnel()
    raw.stream.end(client.data(Buffer.from('question')))
    expect((await all(socket)).toString()).toBe('question')
    socket.end('answer')
    expect((await client.read(Number.POSITIVE_INFINITY)).toString()).toBe('answer')
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: 8, bytesDown: 6 })
  })

  it('S135 half-close by the target: the client goes on after its FIN', async () => {
    const { raw, client, socket, closing } = await tcpTunnel()
    socket.end('banner')
    expect((await client.read(Number.POSITIVE_INFINITY)).toString()).toBe('banner')
    const heard = all(socket)
    raw.stream.end(client.data(Buffer.from('late')))
    expect((await heard).toString()).toBe('late')
    expect(await closing).toMatchObject({ reason: 'end', bytesUp: 4, bytesDown: 6 })
  })

  it('S135 the last bytes of a client arrive at a slow target that has sent its FIN before', async () => {
    const { client, raw, target, closed, context } = await tunnel()
    target.end()
    await raw.readToEnd()
    for (let at = 0; at < MEBIBYTE.length; at += 8_192) raw.write(client.data(MEBIBYTE.subarray(at, at + 8_192)))
    raw.end()
    let received = 0
    for await (const chunk of target) {
      received += chunk.length
      await sleep(1)
    }
    expect(received).toBe(MEBIBYTE.length)
    expect(await closed).toMatchObject({ reason: 'end', bytesUp: MEBIBYTE.length })
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
  })

  it('S135 a target that does not read holds the client back; a client that does not, the target', async () => {
    const { client, raw, target, near } = await tunnel()
    for (let at = 0; at < 4_194_304; at += 32_768) raw.write(client.data(MEBIBYTE.subarray(0, 32_768)))
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
    expect(raw.stream.writableLength).toBeGreaterThan(3_000_000)
    expect(near.readableLength).toBeLessThan(300_000)

    raw.stream.pause()
    for (let at = 0; at < 4_194_304; at += 32_768) target.write(MEBIBYTE.subarray(0, 32_768))
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
    expect(target.writableLength).toBeGreaterThan(3_000_000)
    expect(near.writableLength).toBeLessThan(300_000)
  })

  it.each([
    [0, '0500'],
    [1, '0507'],
    [2, '0507'],
    [3, '0507'],
  ])('S135 UDP ASSOCIATE at level %i is answered %s: datagrams are not protected', async (level, answer) => {
    const options: ServerOptions = { commands: ['connect', 'udp-associate'], dial: undefined }
    const { client, raw } = await negotiated(level, new ToyGss(), options)
    const request = connectRequest('0.0.0.0', 0, 3)
    raw.write(level === 0 ? request : client.data(request))
    const reply = level === 0 ? await raw.read(10) : (await client.read(10)).toString('hex')
    expect(reply.slice(0, 4)).toBe(answer)
  })

  it('S135 a denied request is answered within the protection, and the FIN comes behind it', async () => {
    const { client, raw, closed, context } = await negotiated(1, new ToyGss(), { authorize: () => false })
    raw.write(concat(client.data(REQUEST), client.data(Buffer.from('more'))))
    expect((await client.read(Number.POSITIVE_INFINITY)).toString('hex')).toBe('05020001000000000000')
    raw.end()
    expect(await closed).toMatchObject({ reason: 'refused', error: { code: 'ERR_SOCKS_NOT_ALLOWED' } })
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
  })
})

/** What a client can get wrong, given the frame that it would send next. */
const WRONG: Readonly<Record<string, (next: Uint8Array) => Uint8Array>> = {
  'a wrong version': () => hex('05'),
  'an unknown type': () => hex('01 04'),
  'an abort': () => hex('01 ff'),
  'a message as a token of the context': (next) => next.map((byte, index) => (index === 1 ? 1 : byte)),
  'a message as a level': (next) => next.map((byte, index) => (index === 1 ? 2 : byte)),
  'an empty token': () => frame(3, ''),
  'a forged message': (next) => next.map((byte, index) => (index === next.length - 1 ? byte ^ 1 : byte)),
  'a message twice': (next) => concat(next, next),
  'a message that is not encrypted': (next) => frame(3, new ToyGss().wrap(next.subarray(8, -1), false)),
}

describe('what a client gets wrong within the protection', () => {
  it.each(Object.keys(WRONG))('S135 %s before the request ends the connection, and is told of', async (what) => {
    const fixture = await negotiated(2)
    const { raw, client, closed, errors, context } = fixture
    raw.write(WRONG[what]?.(client.data(REQUEST)) ?? hex(''))
    expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_BAD_GSSAPI_FRAME' } })
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_GSSAPI_FRAME'])
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
  })

  it.each(Object.keys(WRONG))('S135 %s in the tunnel ends it, and nothing that follows is passed on', async (what) => {
    const { raw, client, closed, target, context } = await tunnel()
    const heard = all(target)
    raw.write(concat(client.data(Buffer.from('right')), WRONG[what]?.(client.data(hex('00'))) ?? hex('')))
    raw.write(client.data(Buffer.from('never')))
    expect(await closed).toMatchObject({ reason: 'reset', error: { code: 'ERR_SOCKS_BAD_GSSAPI_FRAME' } })
    expect((await heard).toString()).toMatch(/^(right\0?)?$/)
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
  })

  it('S135 a FIN in the middle of a frame is an error, which the target sees as a reset', async () => {
    const { raw, client, socket, closing, contexts } = await tcpTunnel()
    const errored = new Promise((resolve) => socket.on('error', resolve))
    const last = client.data(Buffer.from('cut off'))
    raw.stream.end(concat(client.data(Buffer.from('whole')), last.subarray(0, -1)))
    socket.resume()
    expect(await errored).toMatchObject({ code: 'ECONNRESET' })
    expect(await closing).toMatchObject({ reason: 'reset', error: { code: 'ERR_SOCKS_BAD_GSSAPI_FRAME' } })
    expect(contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
  })

  it('S135 a FIN in the middle of the frame of the request is an error', async () => {
    for (const length of [1, 2, 3, 4, 10]) {
      const { raw, client, closed, errors } = await negotiated(1)
      raw.stream.end(client.data(REQUEST).subarray(0, length))
      expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_BAD_GSSAPI_FRAME' } })
      expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_GSSAPI_FRAME'])
    }
  })

  it('S135 a FIN in place of a request is that of a client that left', async () => {
    const { raw, closed, context } = await negotiated(1)
    raw.end()
    expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_CONNECTION_CLOSED' } })
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
  })
})

describe('how a protected tunnel ends', () => {
  it('S135 a reset of the target resets the client: no frame would tell that this is not the end', async () => {
    const { raw, socket, closing, contexts } = await tcpTunnel()
    socket.resetAndDestroy()
    expect(await raw.closed).toMatchObject({ code: 'ECONNRESET' })
    expect(await closing).toMatchObject({ reason: 'reset' })
    expect(contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
  })

  it('S135 a reset of the client resets the target', async () => {
    const { raw, socket, closing, contexts } = await tcpTunnel()
    socket.resume()
    const errored = new Promise((resolve) => socket.on('error', resolve))
    raw.reset()
    expect(await errored).toMatchObject({ code: 'ECONNRESET' })
    expect(await closing).toMatchObject({ reason: 'reset', error: { code: 'ECONNRESET' } })
    expect(contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
  })

  it.each<[string, ServerOptions, (fixture: Awaited<ReturnType<typeof negotiated>>) => unknown, string]>([
    ['the server closes', {}, ({ server }) => server.close({ graceMs: 0 }), 'shutdown'],
    ['its stream is destroyed', {}, ({ near }) => near.destroy(), 'aborted'],
    ['no request comes', { handshakeTimeoutMs: 50 }, () => {}, 'handshake-timeout'],
    [
      'a dial fails',
      { dial: () => Promise.reject(Object.assign(new Error('no'), { code: 'ECONNREFUSED' })) },
      ({ raw, client }) => raw.stream.end(client.data(REQUEST)),
      'refused',
    ],
    [
      'a command is not served',
      {},
      ({ raw, client }) => raw.stream.end(client.data(connectRequest('a.example', 1, 9))),
      'refused',
    ],
    ['a request makes no sense', {}, ({ raw, client }) => raw.stream.end(client.data(hex('04'))), 'refused'],
  ])('S135 dispose is called once when %s', async (_when, options, act, reason) => {
    for (const level of [1, 2, 3]) {
      const fixture = await negotiated(level, new ToyGss(), options)
      fixture.raw.stream.on('end', () => fixture.raw.end())
      await act(fixture)
      expect(await fixture.closed).toMatchObject({ reason })
      expect(fixture.context).toMatchObject({ disposed: 1, usedAfter: 0 })
    }
  })

  it('S135 dispose is called once, and at the end, where nothing is protected', async () => {
    const { raw, closed, context, target } = await negotiated(0)
    raw.write(REQUEST)
    expect(await raw.read(10)).toBe(GRANTED)
    const far = await target
    far.resume().write('plain')
    expect(await raw.read(5)).toBe(Buffer.from('plain').toString('hex'))
    expect(context).toMatchObject({ disposed: 0 })
    far.end()
    raw.end()
    expect(await closed).toMatchObject({ reason: 'end' })
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
  })

  /** What a hook does from its `count`th call on. */
  const failing = (name: 'wrap' | 'unwrap', count: number, hook: () => unknown): ToyGss => {
    const context = new ToyGss()
    const works = context[name].bind(context)
    let calls = 0
    return Object.assign(context, {
      [name]: (bytes: Uint8Array, confidential: boolean) => (++calls < count ? works(bytes, confidential) : hook()),
    })
  }

  it.each<[string, () => unknown, string]>([
    [
      'throws',
      () => {
        throw new Error('no context')
      },
      'ERR_SOCKS_BAD_GSSAPI_FRAME',
    ],
    ['rejects', () => Promise.reject(new Error('no context')), 'ERR_SOCKS_BAD_GSSAPI_FRAME'],
    ['returns undefined', () => undefined, 'ERR_SOCKS_HOOK_FAILED'],
    ['resolves to text', async () => 'text', 'ERR_SOCKS_HOOK_FAILED'],
    ['returns a DataView', () => new DataView(new ArrayBuffer(3)), 'ERR_SOCKS_HOOK_FAILED'],
  ])('S135 unwrap or wrap that %s in the tunnel ends it', async (_how, hook, code) => {
    const up = await tunnel(failing('unwrap', 3, hook))
    up.raw.write(up.client.data(Buffer.from('up')))
    expect(await up.closed).toMatchObject({ reason: 'reset', error: { code } })
    expect(up.context).toMatchObject({ disposed: 1, usedAfter: 0 })

    const down = await tunnel(failing('wrap', 3, hook))
    down.target.write('down')
    expect(await down.closed).toMatchObject({ reason: 'reset', error: { code: 'ERR_SOCKS_HOOK_FAILED' } })
    expect(down.context).toMatchObject({ disposed: 1, usedAfter: 0 })
  })

  it('S135 a token that fits no frame ends the tunnel', async () => {
    const { target, closed } = await tunnel(failing('wrap', 3, () => new Uint8Array(65_536)))
    target.write('down')
    expect(await closed).toMatchObject({ reason: 'reset', error: { code: 'ERR_SOCKS_HOOK_FAILED' } })
  })

  it.each(['wrap', 'unwrap'] as const)(
    'S135 %s that never settles holds one way up until the tunnel is idle',
    async (name) => {
      const late = deferred<Uint8Array>()
      const context = failing(name, 3, () => late.promise)
      const { raw, client, target, closed } = await tunnel(context, { idleTimeoutMs: 60 })
      if (name === 'wrap') target.write('down')
      else raw.write(client.data(Buffer.from('up')))
      expect(await closed).toMatchObject({ reason: 'idle-timeout' })
      late.resolve(hex('00'))
      await new Promise(setImmediate)
      expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
    },
  )

  it('S135 wrap that fails for the reply ends the connection', async () => {
    const { raw, client, closed, context } = await negotiated(
      2,
      failing('wrap', 2, () => undefined),
    )
    raw.write(client.data(REQUEST))
    expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_HOOK_FAILED' } })
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
    if (!raw.stream.readableEnded) await once(raw.stream, 'end')
  })
})
