import { connect } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { text } from 'node:stream/consumers'
import { createServer as createTlsServer } from 'node:tls'
import { describe, expect, it, vi } from 'vitest'
import { handshake } from '../../src/client/handshake.js'
import { customMethod, SocksClient } from '../../src/client/index.js'
import type { SocksErrorCode } from '../../src/codec/errors.js'
import { credentialsFromText } from '../../src/codec/userpass.js'
import { createSocksServer, userPass } from '../../src/server/index.js'
import { hex, SUCCESS } from '../support/scripted-proxy.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort, startEcho, startTarget } from '../support/targets.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'
import { failure, PASSWORD, rejection, USER } from './hygiene.js'

const destination = { host: 'example.com', port: 443 }
const REQUEST = '05 01 00 03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb'
const CREDENTIALS = '01 04 75 73 65 72 04 70 61 73 73'
const HELLO = Buffer.from('hello ')
const HELLO_HEX = HELLO.toString('hex')
const credentials = credentialsFromText('user', 'pass')

function record(peer: Duplex): Buffer[] {
  const chunks: Buffer[] = []
  peer.on('data', (chunk: Buffer) => chunks.push(chunk))
  return chunks
}

/** Plays the proxy's answers, chunk by chunk, each in a turn of its own. */
async function play(peer: Duplex, chunks: readonly Uint8Array[]): Promise<void> {
  for (const chunk of chunks) {
    peer.write(chunk)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Stands in front of a proxy and writes down what each connection says, chunk by chunk. */
async function startTap(port: number): Promise<{ readonly port: number; readonly flights: Buffer[][] }> {
  const flights: Buffer[][] = []
  const tap = await startTarget((client) => {
    const proxy = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    proxy.on('error', () => client.destroy())
    flights.push(record(client))
    client.pipe(proxy).pipe(client)
    client.on('close', () => proxy.destroy())
  })
  cleanup(() => tap.close())
  return { port: tap.port, flights }
}

async function startEchoing(): Promise<number> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo.port
}

describe('one flight', () => {
  it.each([
    ['no credentials', {}, `05 01 00 ${REQUEST}`],
    ['credentials', { credentials }, `05 01 02 ${CREDENTIALS} ${REQUEST}`],
    ['requireAuth', { credentials, requireAuth: true }, `05 01 02 ${CREDENTIALS} ${REQUEST}`],
    ['first data', { firstData: HELLO }, `05 01 00 ${REQUEST} ${HELLO_HEX}`],
    ['both', { credentials, firstData: HELLO }, `05 01 02 ${CREDENTIALS} ${REQUEST} ${HELLO_HEX}`],
    ['SOCKS4a', { version: 4, firstData: HELLO }, `04 01 01bb 00000001 00 6578616d706c652e636f6d 00 ${HELLO_HEX}`],
  ] as const)('C38 C39 is one write, with one method: %s', async (_what, options, flight) => {
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    const stages: string[] = []
    const onStage = (stage: string) => void stages.push(stage)
    const result = handshake(stream, { destination, optimistic: true, onStage, ...options })
    const isSocks4 = 'version' in options
    const hasPassword = 'credentials' in options
    await play(peer, [hex(isSocks4 ? '005a000000000000' : hasPassword ? '05 02 01 00' : '05 00')])
    if (!isSocks4) await play(peer, [SUCCESS])
    await result
    expect(sent).toEqual([hex(flight)])
    expect(stages).toEqual(isSocks4 ? ['reply'] : hasPassword ? ['method', 'status', 'reply'] : ['method', 'reply'])
  })

  it('C39 without optimistic the first data is right behind the success, and not before', async () => {
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    const result = handshake(stream, { destination, credentials, firstData: HELLO })
    await play(peer, [hex('05 02'), hex('01 00')])
    expect(Buffer.concat(sent)).toEqual(hex(`05 02 00 02 ${CREDENTIALS} ${REQUEST}`))
    await play(peer, [SUCCESS])
    await result
    expect(sent.at(-1)).toEqual(HELLO)
  })

  it('C38 C65 C66 answers in one piece, in two at every byte, and byte by byte; what follows is the tunnel', async () => {
    const answer = Buffer.concat([hex('05 02 01 00'), SUCCESS, Buffer.from('early')])
    const splits = [[answer], Array.from(answer, (byte) => Uint8Array.of(byte))]
    for (let cut = 1; cut < answer.length; cut++) splits.push([answer.subarray(0, cut), answer.subarray(cut)])
    for (const split of splits) {
      const [stream, peer] = duplexPair()
      const result = handshake(stream, { destination, credentials, optimistic: true, firstData: HELLO })
      await play(peer, split)
      expect((await result).bound.port).toBe(4660)
      expect([stream.readableFlowing, stream.listenerCount('error')]).toEqual([null, 1])
      peer.end()
      expect(await text(stream)).toBe('early')
    }
  })

  it.each<[string, string, SocksErrorCode]>([
    ['C3 no method', '05 ff', 'ERR_SOCKS_NO_ACCEPTABLE_METHOD'],
    ['C8 the other method', '05 00', 'ERR_SOCKS_METHOD_NOT_OFFERED'],
    ['C23 the credentials', '05 02 01 01', 'ERR_SOCKS_AUTH_FAILED'],
    ['C64 the request', '05 02 01 00 05 05 00', 'ERR_SOCKS_CONNECTION_REFUSED'],
    ['C14 another protocol', '48 54 54 50', 'ERR_SOCKS_PEER_IS_HTTP'],
  ])('%s: a refusal is told, whole and split at every byte', async (_what, answers, code) => {
    const all = hex(answers)
    for (let cut = 0; cut < all.length; cut++) {
      const [stream, peer] = duplexPair()
      peer.on('error', () => {})
      const result = handshake(stream, { destination, credentials, optimistic: true, firstData: HELLO })
      await Promise.all([failure(result, code), play(peer, [all.subarray(0, cut), all.subarray(cut)])])
      expect(stream.destroyed).toBe(true)
    }
  })
})

describe('optimistic through our own server', () => {
  it.each([
    ['no authentication', {}, '', '05 01 00 05 01 00 01'],
    ['a password', { auth: userPass({ user: 'pass' }) }, 'user:pass@', `05 01 02 ${CREDENTIALS} 05 01 00 01`],
  ])(
    'C38 C39 all of it is in the first segment, and reaches the target once, in order: %s',
    async (_w, server, userinfo, start) => {
      const port = await startEchoing()
      const tap = await startTap((await startServer(server)).port)
      const client = new SocksClient({ proxy: `socks5h://${userinfo}127.0.0.1:${tap.port}`, optimistic: true })
      const firstData = Uint8Array.from(HELLO)
      const connecting = client.connect({ host: '127.0.0.1', port, firstData })
      // A copy is sent.
      firstData.fill(0)
      const { socket } = await connecting
      expect(tap.flights.map(([first]) => first?.toString('hex'))).toEqual([
        `${hex(start).toString('hex')}7f000001${port.toString(16).padStart(4, '0')}${HELLO_HEX}`,
      ])
      socket.end('world')
      expect(await text(socket)).toBe('hello world')
    },
  )

  it('C39 a megabyte of first data arrives whole, with optimistic and without', async () => {
    const { port: proxyPort } = await startServer()
    const port = await startEchoing()
    const firstData = Buffer.alloc(1_048_576, 'tubesock')
    for (const optimistic of [true, false]) {
      const client = new SocksClient({ proxy: `socks5h://127.0.0.1:${proxyPort}`, optimistic })
      const { socket } = await client.connect({ host: '127.0.0.1', port, firstData })
      socket.end()
      expect((await text(socket)) === firstData.toString()).toBe(true)
    }
  })

  it('C38 each hop of a chain in one flight; the first data goes with the last', async () => {
    const port = await startEchoing()
    const first = await startTap((await startServer({ auth: userPass({ user: 'pass' }) })).port)
    const second = await startTap((await startServer()).port)
    const third = await startTap((await startServer({ socks4: true })).port)
    const proxy = [
      `socks5h://user:pass@127.0.0.1:${first.port}`,
      `socks5h://127.0.0.1:${second.port}`,
      `socks4a://127.0.0.1:${third.port}`,
    ]
    const client = new SocksClient({ proxy, optimistic: true })
    const { socket } = await client.connect({ host: '127.0.0.1', port, firstData: HELLO })
    socket.end('world')
    expect(await text(socket)).toBe('hello world')
    const [login, ask, last] = [first, second, third].map(({ flights }) => flights[0]?.[0]?.toString('hex') ?? '')
    expect(login).toMatch(new RegExp(`^050102${hex(CREDENTIALS).toString('hex')}050100017f000001....$`))
    expect(ask).toMatch(/^050100050100017f000001....$/)
    expect(last).toMatch(new RegExp(`^0401....7f00000100${HELLO_HEX}$`))
  })

  it('C38 over TLS to the proxy, with names looked up here, and over a stream that is given', async () => {
    const port = await startEchoing()
    const { server, port: proxyPort } = await startServer()
    const listener = createTlsServer({ cert: CERTIFICATE, key: PRIVATE_KEY, allowHalfOpen: true }, (socket) => {
      server.handle(socket, { clientAddress: '127.0.0.1' })
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => listener.once('listening', resolve))
    cleanup(() => listener.close())
    const address = listener.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const tls = { host: '127.0.0.1', port: address.port, tls: { ca: CERTIFICATE } }
    const plain = { host: '127.0.0.1', port: proxyPort, resolve: 'local' } as const
    const given = connect({ host: '127.0.0.1', port: proxyPort, allowHalfOpen: true })
    for (const [proxy, socket] of [[tls], [plain], [plain, given]] as const) {
      const options = { proxy, optimistic: true, host: 'localhost', port, firstData: HELLO, socket }
      const lookup = (_host: string, _options: object, callback: (error: null, list: object[]) => void) => {
        callback(null, [{ address: '127.0.0.1', family: 4 }])
      }
      // `as`: one of the forms of a lookup, which are overloads.
      const connection = await SocksClient.connect({ ...options, lookup: lookup as never })
      connection.socket.end('world')
      expect(await text(connection.socket)).toBe('hello world')
    }
  })

  it('C38 C134 isolate: credentials that are made up go ahead, too', async () => {
    const port = await startEchoing()
    const seen: string[] = []
    const auth = userPass((username) => seen.push(username) > 0)
    const tap = await startTap((await startServer({ auth })).port)
    const client = new SocksClient({ proxy: `socks5h://127.0.0.1:${tap.port}`, isolate: true, optimistic: true })
    for (let round = 0; round < 2; round++) {
      const { socket } = await client.connect({ host: '127.0.0.1', port, firstData: HELLO })
      socket.destroy()
    }
    expect([new Set(seen).size, tap.flights.map(([first]) => first?.subarray(0, 4).toString('hex'))]).toEqual([
      2,
      ['05010201', '05010201'],
    ])
  })

  it('C38 BIND, look-ups and datagrams, too', async () => {
    const commands = ['bind', 'udp-associate', 'resolve'] as const
    const tap = await startTap((await startServer({ commands })).port)
    const client = new SocksClient({ proxy: `socks5h://127.0.0.1:${tap.port}`, optimistic: true })
    expect(await client.resolve({ host: '127.0.0.1' })).toBe('127.0.0.1')
    const association = await client.udpAssociate()
    association.close()
    const listener = await client.bind()
    const peer = connect({ host: listener.address.host, port: listener.address.port })
    cleanup(() => peer.destroy())
    peer.end('from the peer')
    const { socket } = await listener.accept()
    expect(await text(socket)).toBe('from the peer')
    expect(tap.flights.map((chunks) => chunks.length)).toEqual([1, 1, 1])
  })

  it('C40 a wrong password: the proxy has seen the first data, the target has not', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    const tap = await startTap((await startServer({ auth: userPass({ [USER]: PASSWORD }) })).port)
    const proxy = `socks5h://${USER}:not-${PASSWORD}@127.0.0.1:${tap.port}`
    const where = { host: '127.0.0.1', port: target.port, firstData: HELLO }
    const error = await failure(SocksClient.connect({ proxy, optimistic: true, ...where }), 'ERR_SOCKS_AUTH_FAILED')
    expect(error).toMatchObject({ hop: 0, status: 1 })
    expect(tap.flights[0]?.[0]?.includes(HELLO)).toBe(true)
    expect(target.accepted).toBe(0)
  })

  it('C40 a target that refuses, and a proxy that wants a password', async () => {
    const { port: proxyPort } = await startServer()
    const where = { host: '127.0.0.1', port: await refusedPort(), firstData: HELLO, optimistic: true }
    const proxy = `socks5h://127.0.0.1:${proxyPort}`
    await failure(SocksClient.connect({ proxy, ...where }), 'ERR_SOCKS_CONNECTION_REFUSED')
    const strict = await startServer({ auth: userPass({ user: 'pass' }) })
    const url = `socks5h://127.0.0.1:${strict.port}`
    await failure(SocksClient.connect({ proxy: url, ...where }), 'ERR_SOCKS_NO_ACCEPTABLE_METHOD')
    // One method is offered: a proxy that would have let us in without a password has no common one.
    const open = `socks5h://user:pass@127.0.0.1:${proxyPort}`
    await failure(SocksClient.connect({ proxy: open, ...where }), 'ERR_SOCKS_NO_ACCEPTABLE_METHOD')
  })

  it('C38 a dialer with it', async () => {
    const port = await startEchoing()
    const tap = await startTap((await startServer()).port)
    const upstream = new SocksClient({ proxy: `socks5h://127.0.0.1:${tap.port}`, optimistic: true })
    const bridge = createSocksServer({ dial: upstream.dialer() })
    cleanup(() => bridge.close({ graceMs: 0 }))
    const { port: bridgePort } = await bridge.listen(0)
    const proxy = `socks5h://127.0.0.1:${bridgePort}`
    const { socket } = await SocksClient.connect({ proxy, optimistic: true, host: '127.0.0.1', port, firstData: HELLO })
    socket.end('world')
    expect(await text(socket)).toBe('hello world')
  })
})

describe('a proxy that reads one message at a time', () => {
  it.each([
    ['the reply', '', '05 00'],
    ['the status', 'user:pass@', '05 02'],
    ['the method', '', ''],
  ])('C38 C142 ends in a timeout that names the option: waiting for %s', async (_what, userinfo, answer) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    cleanup(() => vi.useRealTimers())
    for (const optimistic of [true, false]) {
      const [socket, peer] = duplexPair()
      const client = new SocksClient({ proxy: `socks5h://${userinfo}proxy.example`, optimistic })
      const attempt = failure(client.connect({ ...destination, socket, timeoutMs: 5_000 }), 'ERR_SOCKS_TIMEOUT')
      await play(peer, [hex(answer)])
      vi.advanceTimersByTime(5_000)
      expect((await attempt).message.includes("try without 'optimistic'")).toBe(optimistic)
    }
  })

  it('C38 C142 SOCKS4 has one message, and the dial to a proxy none: nothing is said of the option', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    cleanup(() => vi.useRealTimers())
    const [socket] = duplexPair()
    const client = new SocksClient({ proxy: 'socks4a://proxy.example', optimistic: true })
    const attempt = failure(client.connect({ ...destination, socket, timeoutMs: 5_000 }), 'ERR_SOCKS_TIMEOUT')
    vi.advanceTimersByTime(5_000)
    expect((await attempt).message).not.toContain('optimistic')
  })
})

describe('what is refused before any I/O', () => {
  const proxy = 'socks5h://127.0.0.1:1'
  const where = { host: 'example.com', port: 80 }

  it.each([1, 'yes', null, {}])('optimistic: %s', (optimistic) => {
    // @ts-expect-error no boolean
    expect(() => new SocksClient({ proxy, optimistic })).toThrow(TypeError)
  })

  it.each([['text'], [[1, 2]], [null], [7], [new ArrayBuffer(3)], [{ length: 1, 0: 65 }]])(
    'firstData: %s',
    async (firstData) => {
      // @ts-expect-error no bytes
      expect(await rejection(SocksClient.connect({ proxy, ...where, firstData }))).toBeInstanceOf(TypeError)
    },
  )

  it('firstData where there is no target to send it to', async () => {
    const client = new SocksClient({ proxy })
    const firstData = HELLO
    const wrong = [
      // @ts-expect-error no such option
      client.bind({ firstData }),
      // @ts-expect-error no such option
      client.udpAssociate({ firstData }),
      // @ts-expect-error no such option
      client.resolve({ host: 'h', firstData }),
    ]
    for (const attempt of wrong) expect(await rejection(attempt)).toBeInstanceOf(TypeError)
    // @ts-expect-error no such option
    expect(() => new SocksClient({ proxy, firstData })).toThrow(TypeError)
  })

  it('C136 a method of the application’s own, which is a conversation', async () => {
    const auth = customMethod(0x80, () => undefined)
    const make = () => new SocksClient({ proxy: { host: 'h', auth }, optimistic: true })
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }))
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    expect(await rejection(handshake(stream, { destination, auth, optimistic: true }))).toBeInstanceOf(RangeError)
    expect(sent).toEqual([])
  })

  it('views of any kind are bytes', async () => {
    const port = await startEchoing()
    const { port: proxyPort } = await startServer()
    const bytes = Buffer.from('..hello.')
    const view = new DataView(bytes.buffer, bytes.byteOffset + 2, 5)
    const client = new SocksClient({ proxy: `socks5h://127.0.0.1:${proxyPort}` })
    // @ts-expect-error the type asks for a Uint8Array
    const { socket } = await client.connect({ host: '127.0.0.1', port, firstData: view })
    socket.end()
    expect(await text(socket)).toBe('hello')
  })
})
