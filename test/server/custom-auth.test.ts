import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import {
  type AuthChannel,
  type Authenticator,
  type ClosedInfo,
  createSocksServer,
  customAuth,
  noAuth,
  type ServerOptions,
  type Session,
  type SocksServer,
  userPass,
} from '../../src/server/index.js'
import { plain } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { connectRequest, hex, RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'

const CODE = 0x80
const GREETING = hex('05 01 80')
const GRANTED = '05000001000000000000'
const REQUEST = connectRequest('echo.example', 7)
const IDENTITY = { name: 'somebody' }
/** What a server answers to a request that is denied by `authorize: () => false`. */
const DENIED = '05020001000000000000'

interface InMemory {
  readonly server: SocksServer
  readonly errors: Error[]
  readonly closed: Promise<ClosedInfo>
  readonly near: Duplex
  readonly client: RawClient
}

/** A server with an echo for a target, and one client of it, all in memory. */
function inMemory(method: Authenticator, options: ServerOptions = {}): InMemory {
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

/** A message of one byte of length and as many more, answered by `ok`. */
const sized: Authenticator = async (channel) => {
  const [length = 0] = await channel.readExactly(1)
  const name = Buffer.from(await channel.readExactly(length)).toString()
  channel.write(Buffer.from('ok'))
  return { identity: { name } }
}
const SIZED = hex('03 62 6f 62')
const OK = Buffer.from('ok').toString('hex')

/** Later than the turn, and everything that was scheduled in it. */
const laterTurn = () => new Promise((resolve) => setImmediate(resolve))

/** Runs a method on its own; its first test of it is what `talk` returns. */
async function inMethod<T>(
  talk: (channel: AuthChannel, session: Session) => Promise<T>,
  act: (client: RawClient) => unknown,
): Promise<T> {
  const result = deferred<Promise<T>>()
  const { client } = inMemory((channel, session) => {
    const outcome = talk(channel, session)
    result.resolve(outcome)
    return outcome.then(
      () => false,
      () => false,
    )
  })
  await act(client)
  return result.promise
}

describe('the channel of a custom method', () => {
  it('S136 method, request and data in one segment, and byte by byte, come to the same', async () => {
    const bytes = Buffer.concat([GREETING, SIZED, REQUEST, Buffer.from('payload')])
    const pieces = [[bytes], Array.from(bytes, (byte) => Uint8Array.of(byte))]
    for (let point = 1; point < bytes.length; point++) pieces.push([bytes.subarray(0, point), bytes.subarray(point)])
    for (const split of pieces) {
      const { client, closed, errors } = inMemory(sized)
      for (const piece of split) await client.send(piece)
      client.end()
      const answer = await client.readToEnd()
      expect(answer.subarray(0, 14).toString('hex')).toBe(`0580${OK}${GRANTED}`)
      expect(answer.subarray(14).toString()).toBe('payload')
      expect(await closed).toMatchObject({ reason: 'end', identity: { name: 'bob' } })
      expect(errors).toEqual([])
    }
  })

  it('S136 read gives what is here, and undefined after the FIN', async () => {
    const seen = await inMethod(
      async (channel) => [await channel.read(), await channel.read(), await channel.read()],
      (client) => {
        client.write(Buffer.concat([GREETING, hex('01 02 03')]))
        client.end()
      },
    )
    expect(seen).toEqual([hex('01 02 03'), undefined, undefined])
  })

  it('S136 readExactly takes over segments what it asks for, and no more', async () => {
    const seen = await inMethod(
      async (channel) => [
        await channel.readExactly(0),
        await channel.readExactly(3),
        await channel.readExactly(2),
        await channel.read(),
      ],
      async (client) => {
        for (const bytes of [GREETING, '01', '02 03 04', '05 06 07']) {
          await client.send(typeof bytes === 'string' ? hex(bytes) : bytes)
        }
      },
    )
    expect(seen.map((bytes) => Buffer.from(bytes ?? []).toString('hex'))).toEqual(['', '010203', '0405', '0607'])
  })

  it('S136 readExactly takes a long message in tiny pieces, and its memory is its own', async () => {
    const message = Buffer.alloc(5_000, 7)
    const read = await inMethod(
      (channel) => channel.readExactly(message.length),
      async (client) => {
        client.write(GREETING)
        for (const byte of message) await client.send(Uint8Array.of(byte))
      },
    )
    expect(Buffer.from(read)).toEqual(message)
    expect(read.buffer.byteLength).toBe(message.length)
  })

  it('S136 a FIN in the middle of readExactly rejects, and leaves what there was to be read', async () => {
    const seen = await inMethod(
      async (channel) => [
        await channel.readExactly(9).catch(codeOf),
        await channel.readExactly(2),
        await channel.readExactly(2).catch(codeOf),
        await channel.read(),
        await channel.read(),
      ],
      (client) => {
        client.write(Buffer.concat([GREETING, hex('01 02 03')]))
        client.end()
      },
    )
    const closed = 'ERR_SOCKS_CONNECTION_CLOSED'
    expect(plain(seen)).toEqual([closed, '0102', closed, '03', undefined])
  })

  it.each([Number.NaN, -1, 1.5, Number.POSITIVE_INFINITY, '3', undefined])(
    'S136 readExactly(%s) is a RangeError, and reads nothing',
    async (length) => {
      const seen = await inMethod(
        // @ts-expect-error what a method without types may ask for
        async (channel) => [await channel.readExactly(length).catch((error) => error), await channel.read()],
        (client) => client.write(Buffer.concat([GREETING, hex('01')])),
      )
      expect(seen).toEqual([expect.any(RangeError), hex('01')])
    },
  )

  it('S136 a second reader is refused with a TypeError, and the first loses nothing', async () => {
    const message = await inMethod(
      async (channel) => {
        const first = channel.readExactly(4)
        await expect(channel.read()).rejects.toThrow(TypeError)
        await expect(channel.readExactly(1)).rejects.toThrow(TypeError)
        channel.write(hex('aa'))
        return first
      },
      async (client) => {
        client.write(Buffer.concat([GREETING, hex('01 02')]))
        expect(await client.read(3)).toBe('0580aa')
        client.write('03 04')
      },
    )
    expect(message).toEqual(new Uint8Array([1, 2, 3, 4]))
  })

  it.each([
    ['at once', async () => {}],
    ['in a later turn', laterTurn],
  ])('S136 bytes given back %s are read again first, in their order', async (_when, wait) => {
    const seen = await inMethod(
      async (channel) => {
        const all = (await channel.read()) ?? hex('')
        await wait()
        channel.unread(all.subarray(2))
        channel.unread(hex('ee ff'))
        const again = await channel.readExactly(3)
        await wait()
        channel.unread(again)
        return [again, await channel.readExactly(5), await channel.read()]
      },
      (client) => {
        client.write(Buffer.concat([GREETING, hex('01 02 03 04 05')]))
        client.end()
      },
    )
    expect(seen).toEqual([new Uint8Array(hex('ee ff 03')), new Uint8Array(hex('ee ff 03 04 05')), undefined])
  })

  it.each([
    ['at once', async () => {}],
    ['in a later turn', laterTurn],
  ])('S136 a request that is given back %s is served, though the FIN came with it', async (_when, wait) => {
    const { client, closed } = inMemory(async (channel) => {
      const bytes = (await channel.read()) ?? hex('')
      await wait()
      channel.unread(bytes.subarray(1))
      return { identity: IDENTITY }
    })
    client.write(Buffer.concat([GREETING, hex('aa'), REQUEST, Buffer.from('data')]))
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe(`0580${GRANTED}${Buffer.from('data').toString('hex')}`)
    expect(await closed).toMatchObject({ reason: 'end', bytesUp: 4, bytesDown: 4 })
  })

  it('S136 all that readExactly took can be given back, though it was all there was before the FIN', async () => {
    const { client, closed } = inMemory(async (channel) => {
      const bytes = await channel.readExactly(REQUEST.length)
      await laterTurn()
      channel.unread(bytes)
      return { identity: IDENTITY }
    })
    client.write(Buffer.concat([GREETING, REQUEST]))
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe(`0580${GRANTED}`)
    expect(await closed).toMatchObject({ reason: 'end' })
  })

  it('S136 nothing can be given back once the FIN was read', async () => {
    const { client, closed, errors } = inMemory(async (channel) => {
      const bytes = (await channel.read()) ?? hex('')
      expect(await channel.read()).toBeUndefined()
      channel.unread(hex(''))
      expect(() => channel.unread(bytes)).toThrow(expect.objectContaining({ code: 'ERR_SOCKS_ILLEGAL_MESSAGE' }))
      return { identity: IDENTITY }
    })
    client.write(Buffer.concat([GREETING, REQUEST]))
    client.end()
    expect(await client.read(2)).toBe('0580')
    expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_CONNECTION_CLOSED' } })
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_CONNECTION_CLOSED'])
  })

  it('S136 what a client floods before it is read waits within the stream, whose limit stays what it is', async () => {
    const asked = deferred<AuthChannel>()
    const { client, near } = inMemory((channel) => {
      asked.resolve(channel)
      return new Promise(() => {})
    })
    const limit = near.readableHighWaterMark
    client.write(GREETING)
    for (let round = 0; round < 64; round++) client.write(Buffer.alloc(65_536))
    const channel = await asked.promise
    for (let round = 0; round < 8; round++) {
      await channel.read()
      await laterTurn()
      expect(near.readableLength).toBeLessThanOrEqual(limit + 3 * 65_536)
    }
    await channel.readExactly(100_000)
    expect(near.readableHighWaterMark).toBe(limit)
    expect(client.stream.writableLength).toBeGreaterThan(1_000_000)
  })

  it('S136 once the method has ended nothing can be said, read or given back by it', async () => {
    const kept = deferred<AuthChannel>()
    const { client } = inMemory(async (channel) => {
      kept.resolve(channel)
      return { identity: IDENTITY }
    })
    client.write(Buffer.concat([GREETING, REQUEST]))
    expect(await client.read(12)).toBe(`0580${GRANTED}`)
    const channel = await kept.promise
    const over = expect.objectContaining({ code: 'ERR_SOCKS_ILLEGAL_MESSAGE' })
    expect(() => channel.write(hex('00'))).toThrow(over)
    expect(() => channel.unread(hex('00'))).toThrow(over)
    await expect(channel.read()).rejects.toThrow(over)
    await expect(channel.readExactly(1)).rejects.toThrow(over)
    client.write('aa')
    expect(await client.read(1)).toBe('aa')
  })

  it.each([['write'], ['unread']] as const)('S136 %s takes bytes and nothing else', async (name) => {
    const { client, closed, errors } = inMemory(async (channel) => {
      // @ts-expect-error text is no bytes
      channel[name]('text')
      return { identity: IDENTITY }
    })
    client.write(GREETING)
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe('0580')
    expect(await closed).toMatchObject({ reason: 'auth-failed' })
    expect(errors[0]?.cause).toBeInstanceOf(TypeError)
  })

  it('S136 a read that nobody answers any more rejects when the client is gone', async () => {
    const rejected = deferred<unknown>()
    const { client: connect, closed } = await startServer({
      auth: customAuth(CODE, async (channel) => {
        await channel.read().catch((error) => rejected.resolve(codeOf(error)))
        return { identity: IDENTITY }
      }),
    })
    const closing = closed()
    const client = await connect()
    client.write(GREETING)
    expect(await client.read(2)).toBe('0580')
    client.reset()
    expect(await rejected.promise).toMatch(/^ERR_SOCKS_/)
    expect(await closing).toMatchObject({ reason: 'aborted', error: { code: 'ERR_SOCKS_ABORTED' } })
  })
})

describe('the verdict of a custom method', () => {
  it.each([[false], [null], [undefined]] as const)('S136 %s denies, and is told of as a denial', async (verdict) => {
    for (const method of [() => verdict, async () => verdict]) {
      const { client, closed, errors, server } = inMemory(method)
      const denied = vi.fn()
      server.on('denied', denied)
      client.write(Buffer.concat([GREETING, REQUEST]))
      client.end()
      expect((await client.readToEnd()).toString('hex')).toBe('0580')
      expect(await closed).toMatchObject({ reason: 'auth-failed', identity: undefined, bytesUp: 0 })
      expect(errors).toEqual([])
      expect(denied).toHaveBeenCalledOnce()
      expect(denied).toHaveBeenCalledWith(expect.objectContaining({ rule: 'auth' }))
    }
  })

  it.each([
    [true],
    [1],
    ['yes'],
    [{}],
    [[]],
    [{ identity: null }],
    [{ identity: 'somebody' }],
    [{ identity: [] }],
    [{ identity: new Error('no') }],
    [{ identity: {}, wrap: 1 }],
    [{ identity: {}, wrap: null }],
    [() => ({ identity: {} })],
    [Symbol('yes')],
    [new Error('no')],
  ])('S136 %s denies, and is told of as a failure of the hook', async (verdict) => {
    for (const method of [() => verdict, async () => verdict]) {
      // @ts-expect-error what a method without types may return
      const { client, closed, errors } = inMemory(method)
      client.write(Buffer.concat([GREETING, REQUEST]))
      client.end()
      expect((await client.readToEnd()).toString('hex')).toBe('0580')
      expect(await closed).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_HOOK_FAILED' } })
      expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_HOOK_FAILED'])
    }
  })

  it.each<[string, Authenticator]>([
    [
      'throws',
      () => {
        throw new Error('no database')
      },
    ],
    ['rejects', () => Promise.reject(new Error('no database'))],
  ])('S136 a method that %s denies, and its error is the cause', async (_how, method) => {
    const { client, closed, errors } = inMemory(method)
    client.write(Buffer.concat([GREETING, REQUEST]))
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe('0580')
    expect(await closed).toMatchObject({ reason: 'auth-failed' })
    expect(errors).toEqual([
      expect.objectContaining({ code: 'ERR_SOCKS_HOOK_FAILED', cause: new Error('no database') }),
    ])
  })

  it('S136 a client that leaves in the middle of a method is told of as that, not as a failure of the hook', async () => {
    const { client, closed, errors } = inMemory(sized)
    client.write(Buffer.concat([GREETING, SIZED.subarray(0, 2)]))
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe('0580')
    expect(await closed).toMatchObject({ reason: 'auth-failed' })
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_CONNECTION_CLOSED'])
  })

  it('S136 what a method writes before it denies arrives, and then the FIN, though the client goes on sending', async () => {
    const answer = Buffer.alloc(300_000, 'no')
    const { client: connect, closed } = await startServer({
      auth: customAuth(CODE, async (channel): Promise<false> => {
        await channel.readExactly(1)
        channel.write(answer)
        return false
      }),
    })
    const closing = closed()
    const client = await connect()
    client.write(Buffer.concat([GREETING, Buffer.alloc(200_000)]))
    const received = await client.readToEnd()
    expect(received.length).toBe(2 + answer.length)
    client.end()
    expect(await client.closed).toBeUndefined()
    expect(await closing).toMatchObject({ reason: 'auth-failed' })
  })

  it('S136 a method that never settles ends at the deadline of the handshake', async () => {
    const asked = deferred<Session>()
    const { client: connect, closed } = await startServer({
      auth: customAuth(CODE, (_channel, session) => {
        asked.resolve(session)
        return new Promise(() => {})
      }),
      handshakeTimeoutMs: 40,
    })
    const closing = closed()
    const client = await connect()
    client.write(GREETING)
    const { signal } = await asked.promise
    expect((await client.readToEnd()).toString('hex')).toBe('0580')
    expect(await closing).toMatchObject({ reason: 'handshake-timeout', error: { code: 'ERR_SOCKS_HANDSHAKE_TIMEOUT' } })
    expect(signal.aborted).toBe(true)
  })

  it('S136 a verdict that comes after the client was reset changes nothing: neither wrap nor dial is asked', async () => {
    const verdict = deferred()
    const asked = deferred<Session>()
    const wrap = vi.fn((stream: Duplex) => stream)
    const dial = vi.fn(() => new Promise<never>(() => {}))
    const {
      client: connect,
      closed,
      errors,
    } = await startServer({
      auth: customAuth(CODE, async (channel, session) => {
        asked.resolve(session)
        await verdict.promise
        expect(() => channel.write(hex('00'))).toThrow(expect.objectContaining({ code: 'ERR_SOCKS_ILLEGAL_MESSAGE' }))
        return { identity: IDENTITY, wrap }
      }),
      dial,
    })
    const closing = closed()
    const client = await connect()
    client.write(Buffer.concat([GREETING, REQUEST]))
    const { signal } = await asked.promise
    const aborted = once(signal, 'abort')
    client.reset()
    await aborted
    expect(await closing).toMatchObject({ reason: 'aborted', identity: undefined })
    verdict.resolve()
    await laterTurn()
    expect([wrap.mock.calls, dial.mock.calls, errors]).toEqual([[], [], []])
  })

  it('S136 the identity is undefined before the verdict, and reaches rules, dialer and events after it', async () => {
    const seen: unknown[] = []
    const { client, closed, server } = inMemory(
      async (channel, session) => {
        seen.push(session.identity)
        await channel.readExactly(1)
        return { identity: IDENTITY }
      },
      {
        authorize: ({ identity, session }) => {
          seen.push(identity, session?.identity)
          return true
        },
      },
    )
    server.on('request', ({ identity }) => seen.push(identity))
    server.on('established', ({ identity }) => seen.push(identity))
    client.write(Buffer.concat([GREETING, hex('00'), REQUEST]))
    client.end()
    await client.readToEnd()
    seen.push((await closed).identity)
    expect(seen).toEqual([undefined, ...Array.from({ length: 5 }, () => IDENTITY)])
  })
})

describe('custom methods beside others', () => {
  const method = (code: number) => customAuth(code, () => ({ identity: { code } }))

  it.each([
    ['the first of the server that the client offers', [method(0x80), method(0xfe), noAuth()], '05 03 00 fe 80', '80'],
    ['not the first of the client', [noAuth(), method(0x80)], '05 02 80 00', '00'],
    ['the second where the first is not offered', [userPass({ u: 'p' }), method(0xfe)], '05 02 80 fe', 'fe'],
    ['none', [method(0x81)], '05 02 80 00', 'ff'],
    ['method 01, which IANA has assigned', [method(0x01)], '05 01 01', '01'],
  ] as const)('S136 %s is chosen', async (_what, auth, greeting, chosen) => {
    const { client } = inMemory(() => false, { auth, authorize: () => false })
    client.write(Buffer.concat([hex(greeting), chosen === 'ff' ? hex('') : REQUEST]))
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe(`05${chosen}${chosen === 'ff' ? '' : DENIED}`)
  })

  it.each([0, 2, 255, -1, 256, 1.5, Number.NaN, '128', undefined])('S136 code %s is refused', (code) => {
    // @ts-expect-error some are no numbers
    expect(() => customAuth(code, () => false)).toThrow(RangeError)
  })

  it('S136 what is no function, and a code given twice, are refused', () => {
    // @ts-expect-error no function
    expect(() => customAuth(0x80)).toThrow(TypeError)
    expect(() => createSocksServer({ auth: [method(0x80), method(0x80)] })).toThrow(TypeError)
    // @ts-expect-error a method made by hand
    expect(() => createSocksServer({ auth: { code: 0x80 } })).toThrow(TypeError)
  })
})
