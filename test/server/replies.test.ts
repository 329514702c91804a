import { once } from 'node:events'
import { connect as netConnect, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { type ServerOptions, SocksError } from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'
import { connectRequest, GREETING_NO_AUTH, type RawClient } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'

/** REP that a client sees when the dial fails with `error`. */
async function replyFor(error: unknown, options: ServerOptions = {}): Promise<string> {
  const { client: connect } = await startServer({ dial: () => Promise.reject(error), ...options })
  const client = await connect()
  client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
  const answer = (await client.readToEnd()).toString('hex')
  // S78: whatever failed, BND is 0.0.0.0:0.
  expect(answer.slice(8)).toBe('0001000000000000')
  return answer.slice(4, 8)
}

function systemError(code: string): Error {
  return Object.assign(new Error(`connect ${code}`), { code })
}

describe('replies', () => {
  it('S63 every reply is one write of a whole message', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { server } = await startServer()
    for (const request of [connectRequest('127.0.0.1', echo.port), connectRequest('a..b', 80)]) {
      const [near, far] = duplexPair()
      const chunks: string[] = []
      far.on('data', (chunk: Buffer) => chunks.push(chunk.toString('hex')))
      server.handle(near, { clientAddress: '127.0.0.1' })
      far.write(GREETING_NO_AUTH)
      far.write(request)
      far.end()
      await once(far, 'end')
      expect(chunks).toHaveLength(2)
      expect(chunks[1]).toHaveLength(20)
    }
  })

  it.each([
    ['ENETUNREACH', '0503'],
    ['ENETDOWN', '0503'],
    ['EADDRNOTAVAIL', '0501'],
    ['EADDRINUSE', '0501'],
    ['EHOSTUNREACH', '0504'],
    ['EHOSTDOWN', '0504'],
    ['ECONNREFUSED', '0505'],
    ['ECONNRESET', '0505'],
    ['EACCES', '0502'],
    ['EPERM', '0502'],
  ])('S71 S78 %s is answered %s', async (code, reply) => {
    expect(await replyFor(systemError(code))).toBe(reply)
  })

  it('S72 ETIMEDOUT and our own dial timeout are answered 06', async () => {
    expect(await replyFor(systemError('ETIMEDOUT'))).toBe('0506')
    const signals: AbortSignal[] = []
    const dial = ({ signal }: { signal: AbortSignal }) => {
      signals.push(signal)
      return new Promise<never>(() => {})
    }
    expect(await replyFor(undefined, { dial, dialTimeoutMs: 30 })).toBe('0506')
    expect(signals[0]?.reason).toMatchObject({ code: 'ERR_SOCKS_DIAL_TIMEOUT' })
  })

  it.each([
    ['ENOTFOUND', '0504'],
    ['ENODATA', '0504'],
    ['EAI_AGAIN', '0504'],
    ['EAI_FAIL', '0504'],
    ['EAI_MEMORY', '0504'],
    ['EMFILE', '0501'],
    ['ENOBUFS', '0501'],
    ['EAFNOSUPPORT', '0508'],
  ])('S73 %s is answered %s', async (code, reply) => {
    expect(await replyFor(systemError(code))).toBe(reply)
  })

  it.each([[new Error('bug')], [undefined], ['text'], [null]])(
    'S73 a dial that rejects with %s is answered 01',
    async (error) => {
      expect(await replyFor(error)).toBe('0501')
    },
  )

  it.each([[undefined], [null], [{}], [42], [{ stream: 'no' }]])(
    'S73 a dial that returns %s is answered 01',
    async (result) => {
      // @ts-expect-error what a dialer without types may return
      expect(await replyFor(undefined, { dial: () => result })).toBe('0501')
    },
  )

  it('S73 an error of an upstream proxy keeps its reply code', async () => {
    expect(await replyFor(new SocksError('ERR_SOCKS_TTL_EXPIRED', 'upstream', { replyCode: 6 }))).toBe('0506')
  })

  it('S73 a resolver that throws, fails or answers nonsense is answered, not crashed by', async () => {
    const answers: [NonNullable<ServerOptions['lookup']>, string][] = [
      [(_h, _o, callback) => callback(systemError('ENOTFOUND'), []), '0504'],
      [(_h, _o, callback) => callback(null, []), '0504'],
      [(_h, _o, callback) => callback(null, 'not an address'), '0504'],
      // @ts-expect-error what a resolver without types may answer
      [(_h, _o, callback) => callback(null), '0504'],
      [
        () => {
          throw systemError('EAI_FAIL')
        },
        '0504',
      ],
    ]
    for (const [lookup, reply] of answers) {
      expect(await replyFor(undefined, { lookup, dial: undefined })).toBe(reply)
    }
  })

  it('S74 of several failed attempts the most telling code is answered', async () => {
    const several = (...codes: string[]) => replyFor(new AggregateError(codes.map(systemError)))
    expect(await several('ETIMEDOUT', 'ECONNREFUSED')).toBe('0505')
    expect(await several('EHOSTUNREACH', 'ETIMEDOUT')).toBe('0504')
    expect(await several('ETIMEDOUT', 'ENETUNREACH', 'EHOSTUNREACH')).toBe('0504')
    expect(await several('ETIMEDOUT', 'ETIMEDOUT')).toBe('0506')
    expect(await several()).toBe('0501')
  })

  it('S75 after a failure reply the connection is gone within ten seconds, even if the client never closes', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const { client: connect, closed } = await startServer({ authorize: () => false })
      const client = await connect()
      const closing = closed()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', 9)]))
      await client.readToEnd()
      await vi.advanceTimersByTimeAsync(10_000)
      expect(await closing).toMatchObject({ reason: 'refused' })
    } finally {
      vi.useRealTimers()
    }
  })

  it('S76 BND is the exact outbound address, or zeros with hideBoundAddress', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    for (const hideBoundAddress of [false, true]) {
      const { client: connect } = await startServer({ hideBoundAddress })
      const client = await connect()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
      const { remotePort = 0 } = await target.connection()
      const port = hideBoundAddress ? '0000' : remotePort.toString(16).padStart(4, '0')
      expect((await client.read(12)).slice(4)).toBe(`05000001${hideBoundAddress ? '00000000' : '7f000001'}${port}`)
    }
  })

  it('S76 localAddress is where the dial comes from, and what BND says', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const { client: connect } = await startServer({ localAddress: '127.0.0.77' })
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', target.port)]))
    expect((await target.connection()).remoteAddress).toBe('127.0.0.77')
    expect((await client.read(10)).slice(4)).toBe('050000017f00004d')
  })

  it('S77 BND follows the family of the connection: IPv6', async () => {
    const echo = await startEcho('::1')
    cleanup(() => echo.close())
    const { client: connect } = await startServer()
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('::1', echo.port)]))
    expect((await client.read(22)).slice(4)).toBe('05000004'.padEnd(38, '0').concat('01'))
  })

  it('S77 a dialer that returns a stream which is no TCP socket gets BND 0.0.0.0:0, and its own BND if it tells one', async () => {
    for (const [bound, expected] of [
      [undefined, '0500000100000000' + '0000'],
      [{ host: '192.0.2.7', port: 4660 }, '05000001c0000207' + '1234'],
      [{ host: '/run/socket', port: 4660 }, '0500000100000000' + '0000'],
      [{ host: '::ffff:192.0.2.7', port: 4660 }, '05000001c0000207' + '1234'],
    ] as const) {
      const { client: connect } = await startServer({
        dial: () => {
          const [near, far] = duplexPair()
          far.pipe(far)
          return bound === undefined ? near : { stream: near, bound }
        },
      })
      const client = await connect()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80), Buffer.from('ping')]))
      expect((await client.read(12)).slice(4)).toBe(expected)
      expect(Buffer.from(await client.read(4), 'hex').toString()).toBe('ping')
    }
  })

  it('S79 no byte of a target that speaks first comes before the reply', async () => {
    const target = await startTarget((socket) => socket.end('220 hello\r\n'))
    cleanup(() => target.close())
    const { client: connect } = await startServer({
      dial: async ({ port }) => {
        const socket = netConnect(port, '127.0.0.1')
        // The banner is here before the server hears of the connection.
        await once(socket, 'readable')
        return socket
      },
    })
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', target.port)]))
    client.end()
    const answer = await client.readToEnd()
    expect(answer.subarray(0, 4).toString('hex')).toBe('05000500')
    expect(answer.subarray(12).toString()).toBe('220 hello\r\n')
  })

  it('S80 success is answered only when the connection stands, also for a dialer that returns a connecting socket', async () => {
    const hanging: Socket[] = []
    const { client: connect } = await startServer({
      dial: ({ port }) => {
        const socket = netConnect(port, '127.0.0.1')
        hanging.push(socket)
        return socket
      },
    })
    const target = await startTarget()
    const { port } = target
    await target.close()
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', port)]))
    expect((await client.readToEnd()).toString('hex')).toBe('05000505' + '0001000000000000')
    expect(hanging[0]?.destroyed).toBe(true)
  })

  it('S86 a dial that succeeds after the client has reset is destroyed', async () => {
    const dialing = deferred<AbortSignal>()
    const late = deferred<Duplex>()
    const { client: connect, closed } = await startServer({
      dial: ({ signal }) => {
        dialing.resolve(signal)
        return late.promise
      },
    })
    const client: RawClient = await connect()
    const closing = closed()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
    const signal = await dialing.promise
    client.reset()
    expect(await closing).toMatchObject({ reason: 'aborted' })
    expect(signal.aborted).toBe(true)
    const [near] = duplexPair()
    late.resolve(near)
    if (!near.destroyed) await once(near, 'close')
    expect(near.destroyed).toBe(true)
  })

  it('S86 a FIN while the dial is pending goes on, and follows the data', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const dialing = deferred()
    const go = deferred()
    const { client: connect } = await startServer({
      dial: async ({ port }) => {
        dialing.resolve()
        await go.promise
        return netConnect(port, '127.0.0.1')
      },
    })
    const client = await connect()
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', echo.port), Buffer.from('last words')]))
    client.end()
    await dialing.promise
    await new Promise(setImmediate)
    go.resolve()
    expect((await client.readToEnd()).subarray(12).toString()).toBe('last words')
  })
})
