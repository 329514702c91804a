import { once } from 'node:events'
import { Duplex, duplexPair, PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { describe, expect, it, vi } from 'vitest'
import { handshake } from '../../src/client/handshake.js'
import {
  type AuthChannel,
  type ClientAuthenticator,
  type ClientMethodContext,
  customMethod,
  SocksClient,
} from '../../src/client/index.js'
import { credentialsFromText } from '../../src/codec/userpass.js'
import { createSocksServer, customAuth, noAuth, userPass } from '../../src/server/index.js'
import { plain } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { hex, SUCCESS, withProxy } from '../support/scripted-proxy.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { failure, rejection } from './hygiene.js'

const CODE = 0x80
const destination = { host: 'example.com', port: 443 }
const REQUEST = '05 01 00 03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb'
const credentials = credentialsFromText('user', 'pass')

/** Later than the turn, and everything that was scheduled in it. */
const laterTurn = () => new Promise((resolve) => setImmediate(resolve))

async function play(peer: Duplex, chunks: readonly Uint8Array[]): Promise<void> {
  for (const chunk of chunks) {
    peer.write(chunk)
    await laterTurn()
  }
}

function record(peer: Duplex): Buffer[] {
  const chunks: Buffer[] = []
  peer.on('data', (chunk: Buffer) => chunks.push(chunk))
  return chunks
}

/** A client's end in the middle of a method, and the proxy's end, at which "80" was chosen. */
function inMethod(authenticate: ClientAuthenticator) {
  const [stream, peer] = duplexPair()
  peer.on('error', () => {})
  const sent = record(peer)
  const result = handshake(stream, { destination, auth: customMethod(CODE, authenticate) })
  // It may fail before anybody waits for it.
  result.catch(() => {})
  peer.write(hex('05 80'))
  return { stream, peer, sent, result }
}

/** The client's half of a method of one message each way. */
const ticket: ClientAuthenticator = async (channel) => {
  channel.write(hex('03 62 6f 62'))
  const answer = Buffer.from(await channel.readExactly(2)).toString()
  return answer === 'ok' ? {} : false
}

/** The server's half. */
const judge = customAuth(CODE, async (channel) => {
  const [length = 0] = await channel.readExactly(1)
  const name = Buffer.from(await channel.readExactly(length)).toString()
  channel.write(Buffer.from(name === 'bob' ? 'ok' : 'no'))
  return name === 'bob' && { identity: { name } }
})

describe('what is offered', () => {
  const auth = customMethod(CODE, ticket)

  it.each([
    ['nothing else', {}, '05 02 00 80'],
    ['credentials', { credentials }, '05 03 00 02 80'],
    ['requireAuth', { requireAuth: true }, '05 01 80'],
    ['credentials and requireAuth', { credentials, requireAuth: true }, '05 02 02 80'],
  ])('C136 C10 the code stands behind the others: %s', async (_what, options, greeting) => {
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    const result = handshake(stream, { destination, auth, ...options })
    await Promise.all([failure(result, 'ERR_SOCKS_NO_ACCEPTABLE_METHOD'), play(peer, [hex('05 ff')])])
    expect(Buffer.concat(sent)).toEqual(hex(greeting))
  })

  it.each([
    ['00', [hex('05 00'), SUCCESS], REQUEST],
    ['02', [hex('05 02'), hex('01 00'), SUCCESS], `01 04 75 73 65 72 04 70 61 73 73 ${REQUEST}`],
  ])('C136 C9 the proxy may choose %s, and the method is not asked', async (_code, answers, said) => {
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    const method = vi.fn(ticket)
    const result = handshake(stream, { destination, credentials, auth: customMethod(CODE, method) })
    await play(peer, answers)
    await result
    expect(Buffer.concat(sent).subarray(5)).toEqual(hex(said))
    expect(method).not.toHaveBeenCalled()
  })

  it('C136 C8 another private code is a method that was not offered', async () => {
    const [stream, peer] = duplexPair()
    const result = handshake(stream, { destination, auth })
    await Promise.all([failure(result, 'ERR_SOCKS_METHOD_NOT_OFFERED'), play(peer, [hex('05 81')])])
  })

  it.each([0, 2, 255, -1, 256, 1.5, Number.NaN, '128', undefined])('C136 code %s is refused', (code) => {
    // @ts-expect-error some are no numbers
    expect(() => customMethod(code, ticket)).toThrow(RangeError)
  })

  it('C136 what customMethod has not made is refused, and so is SOCKS4', () => {
    // @ts-expect-error no function
    expect(() => customMethod(CODE)).toThrow(TypeError)
    const wrong = [judge, null, ticket, CODE, [auth], { ...auth, authenticate: 'no function' }]
    for (const made of wrong) {
      // @ts-expect-error no method of a client
      expect(() => new SocksClient({ proxy: { host: 'h', auth: made } })).toThrow(TypeError)
    }
    const options = { proxy: { host: 'h', version: 4, auth } } as const
    expect(() => new SocksClient(options)).toThrow(expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }))
    new SocksClient({ proxy: { host: 'h', auth: { ...auth } }, requireAuth: true })
  })
})

describe('the channel', () => {
  const EARLY = Buffer.from('220 early')

  it('C136 what is behind the bytes of the method stays in order: split at every byte, whole, byte by byte', async () => {
    const answer = Buffer.concat([hex('05 80'), Buffer.from('ok'), SUCCESS, EARLY])
    const splits = [[answer], Array.from(answer, (byte) => Uint8Array.of(byte))]
    for (let cut = 1; cut < answer.length; cut++) splits.push([answer.subarray(0, cut), answer.subarray(cut)])
    const methods: readonly ClientAuthenticator[] = [
      ticket,
      // As many bytes as are here, given back in a later turn.
      async (channel) => {
        channel.write(hex('03 62 6f 62'))
        let bytes = Buffer.alloc(0)
        while (bytes.length < 2) bytes = Buffer.concat([bytes, (await channel.read()) ?? Buffer.alloc(2)])
        await laterTurn()
        channel.unread(bytes.subarray(2))
        return undefined
      },
    ]
    for (const method of methods) {
      for (const split of splits) {
        const [stream, peer] = duplexPair()
        const sent = record(peer)
        const result = handshake(stream, { destination, auth: customMethod(CODE, method) })
        await play(peer, split)
        const { bound, stream: tunnel } = await result
        expect([bound.port, tunnel]).toEqual([4660, stream])
        expect([stream.readableFlowing, stream.eventNames().includes('readable')]).toEqual([null, false])
        peer.end()
        expect(Buffer.concat(await stream.toArray())).toEqual(EARLY)
        expect(Buffer.concat(sent)).toEqual(hex(`05 02 00 80 03 62 6f 62 ${REQUEST}`))
      }
    }
  })

  it('C136 with our own server, in memory: identity, request and data', async () => {
    const server = createSocksServer({
      auth: judge,
      dial: () => {
        const [near, far] = duplexPair()
        far.pipe(far)
        return near
      },
    })
    cleanup(() => server.close({ graceMs: 0 }))
    const identities: unknown[] = []
    server.on('request', ({ identity }) => identities.push(identity))
    const [near, far] = duplexPair()
    server.handle(far, { clientAddress: '127.0.0.1' })
    const { stream } = await handshake(near, { destination, auth: customMethod(CODE, ticket) })
    stream.end('there and back')
    expect(await text(stream)).toBe('there and back')
    expect(identities).toEqual([{ name: 'bob' }])
  })

  it('C136 once the method is over nothing can be said, read or given back by it', async () => {
    const kept = deferred<AuthChannel>()
    const { peer, result, stream } = inMethod(async (channel) => {
      kept.resolve(channel)
      return {}
    })
    const channel = await kept.promise
    await play(peer, [SUCCESS])
    await result
    const over = expect.objectContaining({ code: 'ERR_SOCKS_ILLEGAL_MESSAGE' })
    expect(() => channel.write(hex('00'))).toThrow(over)
    expect(() => channel.unread(hex('00'))).toThrow(over)
    await expect(channel.read()).rejects.toThrow(over)
    peer.end('rest')
    expect(await text(stream)).toBe('rest')
  })

  it('C136 C15 an end in the middle of the method is one of the proxy', async () => {
    const { peer, result, stream } = inMethod(async (channel) => {
      await channel.readExactly(9)
    })
    await play(peer, [hex('01')])
    peer.end()
    await failure(result, 'ERR_SOCKS_CONNECTION_CLOSED')
    expect(stream.destroyed).toBe(true)
  })

  it('C136 a read that nobody waits for yet ends no process, whether the connection or the method is over', async () => {
    const thinking = deferred<void>()
    const early: ClientAuthenticator = async (channel) => {
      const reading = channel.read()
      await thinking.promise
      await reading
    }
    const { stream, result } = inMethod(early)
    await laterTurn()
    stream.destroy(new Error('broken'))
    await expect(result).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_CLOSED' })
    // A rejection that nobody has heard of is told of now.
    await laterTurn()
    thinking.resolve()
    const floating = inMethod(async (channel) => {
      void channel.readExactly(9)
      return undefined
    })
    await laterTurn()
    floating.peer.write(SUCCESS)
    await floating.result
    await laterTurn()
    floating.stream.destroy()
  })

  it('C136 a connection that breaks ends a read that waits, and aborts the signal', async () => {
    const broken = new Error('broken')
    const seen = deferred<unknown[]>()
    const { result, stream } = inMethod(async (channel, { signal }) => {
      const code = await channel.read().catch(codeOf)
      seen.resolve([code, signal.aborted, codeOf(signal.reason)])
      return {}
    })
    await laterTurn()
    stream.destroy(broken)
    const error = await failure(result, 'ERR_SOCKS_CONNECTION_CLOSED')
    expect(error.cause).toBe(broken)
    expect(await seen.promise).toEqual(['ERR_SOCKS_CONNECTION_CLOSED', true, 'ERR_SOCKS_CONNECTION_CLOSED'])
  })
})

describe('a method that fails', () => {
  const oops = new Error('no smart card')

  it.each<[string, ClientAuthenticator, unknown]>([
    [
      'throws',
      () => {
        throw oops
      },
      oops,
    ],
    ['rejects', () => Promise.reject(oops), oops],
    ['rejects with no error', () => Promise.reject('no smart card'), 'no smart card'],
  ])('C136 %s: told as a failure of the hook, with its cause', async (_how, method, cause) => {
    const { result, sent, stream } = inMethod(method)
    const error = await failure(result, 'ERR_SOCKS_HOOK_FAILED')
    expect(error.cause).toBe(cause)
    expect(stream.destroyed).toBe(true)
    expect(Buffer.concat(sent)).toEqual(hex('05 02 00 80'))
  })

  it('C136 C23 false is a refusal of the proxy', async () => {
    const { peer, result } = inMethod(ticket)
    await play(peer, [Buffer.from('no')])
    await failure(result, 'ERR_SOCKS_AUTH_FAILED')
  })

  it.each([[true], [null], [1], ['yes'], [[]], [oops], [{ wrap: 1 }], [{ wrap: null }], [() => ({})], [Symbol('yes')]])(
    'C136 %s is no result',
    async (value) => {
      // @ts-expect-error what a method without types may return
      const { result } = inMethod(() => value)
      expect((await failure(result, 'ERR_SOCKS_HOOK_FAILED')).cause).toBeInstanceOf(TypeError)
    },
  )

  it.each([
    ['the deadline', 'ERR_SOCKS_TIMEOUT'],
    ['an abort', 'changed my mind'],
  ])('C136 C142 one that never settles ends by %s', async (how, told) => {
    const asked = deferred<[AuthChannel, ClientMethodContext]>()
    const method = customMethod(CODE, (channel, context) => {
      asked.resolve([channel, context])
      return new Promise(() => {})
    })
    await withProxy(
      async (peer) => {
        await peer.greet(CODE)
      },
      async (proxy) => {
        vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
        cleanup(() => vi.useRealTimers())
        const aborter = new AbortController()
        const attempt = rejection(
          SocksClient.connect({
            proxy: { host: '127.0.0.1', port: proxy.port, auth: method },
            ...destination,
            timeoutMs: 5_000,
            signal: aborter.signal,
          }),
        )
        const [channel, { signal }] = await asked.promise
        const reading = rejection(channel.read())
        const aborted = once(signal, 'abort')
        if (how === 'an abort') aborter.abort(new Error(told))
        else vi.advanceTimersByTime(5_000)
        const error = await attempt
        expect(how === 'an abort' ? String(error) : codeOf(error)).toContain(told)
        expect(Object(error)).not.toHaveProperty('replyCode')
        await aborted
        expect(codeOf(await reading)).toBe('ERR_SOCKS_CONNECTION_CLOSED')
        await proxy.peers[0]?.closed
      },
    )
  })
})

describe('wrap', () => {
  it('C136 gets the stream idle, beginning with what the method did not read; what it returns is the tunnel', async () => {
    // Letters the other way round: enough of a cipher to see who has spoken.
    const swap = (bytes: Buffer) => bytes.map((byte) => byte ^ 0xff)
    const seen: unknown[] = []
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    const made: Duplex[] = []
    const auth = customMethod(CODE, async (channel) => {
      await channel.readExactly(2)
      return {
        wrap: async (inner) => {
          seen.push(inner === stream, inner.readableFlowing, inner.readableLength)
          const wrapped = new Duplex({
            read() {},
            write(chunk, _encoding, done) {
              inner.write(swap(chunk), done)
            },
          })
          inner.on('data', (chunk: Buffer) => wrapped.push(swap(chunk)))
          inner.on('end', () => wrapped.push(null))
          made.push(wrapped)
          await laterTurn()
          return wrapped
        },
      }
    })
    const result = handshake(stream, { destination, auth })
    const rest = swap(Buffer.concat([SUCCESS, Buffer.from('early')]))
    await play(peer, [Buffer.concat([hex('05 80'), Buffer.from('ok'), rest.subarray(0, 3)]), rest.subarray(3)])
    const { stream: tunnel } = await result
    expect(seen).toEqual([true, null, 3])
    expect(tunnel).toBe(made[0])
    expect([tunnel.readableFlowing, tunnel.listenerCount('readable')]).toEqual([null, 0])
    expect(Buffer.concat(sent)).toEqual(Buffer.concat([hex('05 02 00 80'), swap(hex(REQUEST))]))
    peer.end()
    expect(await text(tunnel)).toBe('early')
  })

  it.each<[string, NonNullable<Exclude<Awaited<ReturnType<ClientAuthenticator>>, false | undefined>['wrap']>]>([
    [
      'throws',
      () => {
        throw new TypeError('no')
      },
    ],
    ['rejects', () => Promise.reject(new TypeError('no'))],
    // @ts-expect-error no stream
    ['returns nothing', () => {}],
    // @ts-expect-error no stream
    ['returns an object', () => ({})],
    ['returns a stream of objects', () => new PassThrough({ objectMode: true })],
    ['returns a stream of text', () => new PassThrough().setEncoding('latin1')],
    ['returns a stream that is destroyed', () => new PassThrough().destroy()],
  ])('C136 one that %s ends the attempt', async (_what, wrap) => {
    const { result, stream } = inMethod(() => ({ wrap }))
    expect((await failure(result, 'ERR_SOCKS_HOOK_FAILED')).cause).toBeInstanceOf(TypeError)
    expect(stream.destroyed).toBe(true)
  })

  it('C136 C142 what comes after the deadline is destroyed', async () => {
    const asked = deferred()
    const answer = deferred<Duplex>()
    const auth = customMethod(CODE, () => ({
      wrap: () => {
        asked.resolve()
        return answer.promise
      },
    }))
    await withProxy(
      async (peer) => {
        await peer.greet(CODE)
      },
      async ({ port }) => {
        vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
        cleanup(() => vi.useRealTimers())
        const proxy = { host: '127.0.0.1', port, auth }
        const attempt = failure(SocksClient.connect({ proxy, ...destination, timeoutMs: 5_000 }), 'ERR_SOCKS_TIMEOUT')
        await asked.promise
        vi.advanceTimersByTime(5_000)
        await attempt
        const late = new PassThrough()
        const closed = once(late, 'close')
        answer.resolve(late)
        await closed
      },
    )
  })

  it('C136 a proxy that leaves while wrap is at work is told of as that', async () => {
    const asked = deferred()
    const { peer, result, stream } = inMethod(() => ({
      wrap: (inner) => {
        inner.resume()
        asked.resolve()
        return new Promise(() => {})
      },
    }))
    await asked.promise
    stream.destroy()
    await failure(result, 'ERR_SOCKS_CONNECTION_CLOSED')
    peer.destroy()
  })

  it('C136 what is wrapped dies with the attempt', async () => {
    const wrapped = new PassThrough()
    const { result, stream } = inMethod(() => ({ wrap: () => wrapped }))
    // It reads its own request, which is no reply.
    await failure(result, 'ERR_SOCKS_GENERAL_FAILURE')
    expect([wrapped.destroyed, stream.destroyed]).toEqual([true, true])
  })
})

describe('an upgrade to TLS', () => {
  const secret = { ca: CERTIFICATE, servername: 'proxy.example' }
  const encrypted = (options: object) =>
    customMethod(CODE, () => ({ wrap: (socket) => connectTls({ socket, ...options }) }))

  async function startUpgrading() {
    const fixture = await startServer({
      auth: [
        customAuth(CODE, () => ({
          identity: { encrypted: true },
          wrap: (stream) => new TLSSocket(stream, { isServer: true, cert: CERTIFICATE, key: PRIVATE_KEY }),
        })),
        userPass({ user: 'pass' }),
        noAuth(),
      ],
      authorize: ({ identity }) => identity.encrypted === true,
      commands: ['connect', 'bind', 'udp-associate', 'resolve'],
    })
    return { ...fixture, proxy: { host: '127.0.0.1', port: fixture.port } }
  }

  it('C136 connect resolves to the encrypted stream; without the method the server says no', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { proxy } = await startUpgrading()
    const target = { host: '127.0.0.1', port: echo.port }
    const client = new SocksClient({ proxy: { ...proxy, auth: encrypted(secret) } })
    const { socket, bound } = await client.connect<TLSSocket>(target)
    expect([socket instanceof TLSSocket, socket.encrypted, bound.host]).toEqual([true, true, '127.0.0.1'])
    socket.end('in cipher')
    expect(await text(socket)).toBe('in cipher')
    await failure(SocksClient.connect({ proxy, ...target }), 'ERR_SOCKS_NOT_ALLOWED')
  })

  it('C136 a certificate that is not accepted: the proxy is told nothing', async () => {
    const { proxy, server } = await startUpgrading()
    const asked = vi.fn()
    server.on('request', asked)
    for (const options of [
      { ...secret, ca: undefined },
      { ...secret, servername: 'other.example' },
    ]) {
      const attempt = SocksClient.connect({ proxy: { ...proxy, auth: encrypted(options) }, ...destination })
      const error = await failure(attempt, 'ERR_SOCKS_HOOK_FAILED')
      expect(codeOf(error.cause)).toMatch(/CERT/)
      expect(Object(error.cause)).not.toHaveProperty('cert')
    }
    expect(asked).not.toHaveBeenCalled()
  })

  it('C136 for look-ups, BIND and datagrams, too', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { proxy } = await startUpgrading()
    const client = new SocksClient({ proxy: { ...proxy, auth: encrypted(secret) } })
    expect(await client.resolve({ host: '127.0.0.1' })).toBe('127.0.0.1')
    const listener = await client.bind()
    expect(listener.address.host).toBe('127.0.0.1')
    listener.close()
    const association = await client.udpAssociate()
    expect(association.address().address).toBe('127.0.0.1')
    association.close()
  })

  it('C136 in a chain: the second hop is reached in cipher', async () => {
    const target = await startTarget((socket) => socket.end('reached'))
    cleanup(() => target.close())
    const [first, second] = [await startUpgrading(), await startServer()]
    const proxy = [{ ...first.proxy, auth: encrypted(secret) }, `socks5h://127.0.0.1:${second.port}`]
    const { socket } = await SocksClient.connect({ proxy, host: '127.0.0.1', port: target.port })
    expect(await text(socket)).toBe('reached')
  })
})

it('C136 what a client prints shows nothing of its method', () => {
  const auth = customMethod(CODE, ticket)
  const client = new SocksClient({ proxy: { host: 'h', auth } })
  expect(plain(client.proxies)).toEqual(['socks5h://h:1080'])
  expect(Object.isFrozen(auth)).toBe(true)
})
