import { Duplex, duplexPair } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { handshake } from '../../src/client/handshake.js'
import type { SocksErrorCode } from '../../src/codec/errors.js'
import { credentialsFromText } from '../../src/codec/userpass.js'
import { hex, SUCCESS } from '../support/scripted-proxy.js'
import { failure, MARK, PASSWORD, rejection, USER } from './hygiene.js'

const destination = { host: 'example.com', port: 443 }
const REQUEST = '05 01 00 03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb'
const credentials = credentialsFromText(USER, PASSWORD)

/** Plays the proxy's answers, chunk by chunk, each in a turn of its own. */
async function play(peer: Duplex, chunks: readonly Uint8Array[]): Promise<void> {
  for (const chunk of chunks) {
    peer.write(chunk)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** All that arrives at the proxy's end. */
function record(peer: Duplex): Buffer[] {
  const chunks: Buffer[] = []
  peer.on('data', (chunk: Buffer) => chunks.push(chunk))
  return chunks
}

describe('messages', () => {
  it('C10 with credentials both methods are offered, without them only "none"', async () => {
    for (const [given, greeting] of [
      [undefined, '05 01 00'],
      [credentials, '05 02 00 02'],
    ] as const) {
      const [stream, peer] = duplexPair()
      const sent = record(peer)
      const result = handshake(stream, { destination, credentials: given })
      await play(peer, [hex('05 00'), SUCCESS])
      await result
      expect(Buffer.concat(sent)).toEqual(hex(`${greeting} ${REQUEST}`))
    }
  })

  it('C9 a proxy that picks "none" although credentials were offered is accepted', async () => {
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    const result = handshake(stream, { destination, credentials })
    await play(peer, [hex('05 00'), SUCCESS])
    expect((await result).bound).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 4660 })
    expect(Buffer.concat(sent).includes(PASSWORD)).toBe(false)
  })

  it('C9 requireAuth offers credentials alone and refuses that downgrade', async () => {
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    const result = handshake(stream, { destination, credentials, requireAuth: true })
    await Promise.all([failure(result, 'ERR_SOCKS_METHOD_NOT_OFFERED'), play(peer, [hex('05 00')])])
    expect(Buffer.concat(sent)).toEqual(hex('05 01 02'))
  })

  it('C25 C26 an empty password and 255 bytes of each travel whole', async () => {
    for (const [username, password] of [
      ['u', ''],
      ['u'.repeat(255), 'ü'.repeat(127)],
    ] as const) {
      const [stream, peer] = duplexPair()
      const sent = record(peer)
      const result = handshake(stream, { destination, credentials: credentialsFromText(username, password) })
      await play(peer, [hex('05 02'), hex('01 00'), SUCCESS])
      await result
      const [name, secret] = [Buffer.from(username), Buffer.from(password)]
      expect(Buffer.concat(sent)).toEqual(
        Buffer.concat([
          hex('05 02 00 02 01'),
          Buffer.of(name.length),
          name,
          Buffer.of(secret.length),
          secret,
          hex(REQUEST),
        ]),
      )
    }
  })

  it('C21 a status with version 05 is accepted', async () => {
    const [stream, peer] = duplexPair()
    const result = handshake(stream, { destination, credentials })
    await play(peer, [hex('05 02'), hex('05 00'), SUCCESS])
    await expect(result).resolves.toBeDefined()
  })
})

describe('refusals', () => {
  interface Case {
    readonly name: string
    readonly code: SocksErrorCode
    readonly answers: readonly string[]
    readonly details?: object
  }
  const cases: readonly Case[] = [
    { name: 'C3 no acceptable method', code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD', answers: ['05 ff'] },
    { name: 'C8 a method that was not offered is refused', code: 'ERR_SOCKS_METHOD_NOT_OFFERED', answers: ['05 80'] },
    {
      name: 'C8 05 01 and nothing else: GSSAPI, which was not offered',
      code: 'ERR_SOCKS_METHOD_NOT_OFFERED',
      answers: ['05 01'],
    },
    { name: 'C14 a method reply of version 4', code: 'ERR_SOCKS_BAD_VERSION', answers: ['04 00'] },
    {
      name: 'C14 an HTTP answer',
      code: 'ERR_SOCKS_PEER_IS_HTTP',
      answers: [Buffer.from(`HTTP/1.1 400 ${MARK}\r\n\r\n`).toString('hex')],
    },
    { name: 'C14 a TLS alert', code: 'ERR_SOCKS_PEER_IS_TLS', answers: ['15 03 01 00 02 02 46'] },
    { name: 'C21 a status of version 2', code: 'ERR_SOCKS_BAD_AUTH_VERSION', answers: ['05 02', '02 00'] },
    {
      name: 'C23 status 1 is failure',
      code: 'ERR_SOCKS_AUTH_FAILED',
      answers: ['05 02', '01 01'],
      details: { status: 1 },
    },
    {
      name: 'C23 status 255 is failure',
      code: 'ERR_SOCKS_AUTH_FAILED',
      answers: ['05 02', '01 ff'],
      details: { status: 255 },
    },
    {
      name: 'C67 an unassigned reply code',
      code: 'ERR_SOCKS_UNASSIGNED_REPLY',
      answers: ['05 00', '05 09'],
      details: { replyCode: 9 },
    },
    {
      name: 'C67 unassigned code ff',
      code: 'ERR_SOCKS_UNASSIGNED_REPLY',
      answers: ['05 00', '05 ff'],
      details: { replyCode: 255 },
    },
    {
      name: 'C67 a reply code of Tor',
      code: 'ERR_SOCKS_TOR_REPLY',
      answers: ['05 00', '05 f6 00 01'],
      details: { replyCode: 246 },
    },
    {
      name: 'C64 two bytes of a failure decide',
      code: 'ERR_SOCKS_CONNECTION_REFUSED',
      answers: ['05 00', '05 05'],
      details: { replyCode: 5 },
    },
    {
      name: 'C64 three bytes of a failure decide',
      code: 'ERR_SOCKS_NOT_ALLOWED',
      answers: ['05 00', '05 02 00'],
      details: { replyCode: 2 },
    },
    {
      name: 'C72 code 06 is a timeout on the far side',
      code: 'ERR_SOCKS_TTL_EXPIRED',
      answers: ['05 00', '05 06'],
      details: { replyCode: 6 },
    },
    {
      name: 'C68 an unknown ATYP on success',
      code: 'ERR_SOCKS_BAD_ADDRESS_TYPE',
      answers: ['05 00', '05 00 00 17 00'],
    },
    { name: 'C68 ATYP 00 on success', code: 'ERR_SOCKS_BAD_ADDRESS_TYPE', answers: ['05 00', '05 00 00 00 00'] },
    { name: 'C14 a reply of version 4', code: 'ERR_SOCKS_BAD_VERSION', answers: ['05 00', '04 00 00 01'] },
  ]

  it.each(cases)('$name', async ({ code, answers, details = {} }) => {
    const [stream, peer] = duplexPair()
    peer.on('error', () => {})
    const result = handshake(stream, { destination, credentials })
    // The failure is waited for from the start: it may come before the last answer is written.
    const [error] = await Promise.all([failure(result, code), play(peer, answers.map(hex))])
    expect(error).toMatchObject(details)
    expect(stream.destroyed).toBe(true)
  })

  it.each([
    ['05 ff', 'ERR_SOCKS_NO_ACCEPTABLE_METHOD'],
    ['05 02', 'ERR_SOCKS_METHOD_NOT_OFFERED'],
  ] as const)('C3 C8 nothing is sent after the selection %s, and the stream is closed', async (selection, code) => {
    const [stream, peer] = duplexPair()
    const sent = record(peer)
    await Promise.all([failure(handshake(stream, { destination }), code), play(peer, [hex(selection)])])
    expect(Buffer.concat(sent)).toEqual(hex('05 01 00'))
    expect(stream.destroyed).toBe(true)
  })

  it('C14 100 KB of garbage is refused, whatever it is', async () => {
    for (const start of ['', '05 00', '05 02 01 00', '05 00 05 00 00']) {
      const [stream, peer] = duplexPair()
      peer.on('error', () => {})
      const garbage = Buffer.concat([hex(start), Buffer.from(MARK), Buffer.alloc(100_000, MARK)])
      const result = rejection(handshake(stream, { destination, credentials }))
      peer.write(garbage)
      expect(await result).toMatchObject({ name: 'SocksError' })
    }
  })
})

describe('ends', () => {
  const stages: readonly (readonly [string, readonly string[]])[] = [
    ['C15 before the method reply', []],
    ['C15 inside the method reply', ['05']],
    ['C15 after the method reply', ['05 02']],
    ['C15 inside the status', ['05 02', '01']],
    ['C70 after the request', ['05 02', '01 00']],
    ['C70 inside the reply', ['05 02', '01 00', '05 00 00 01 7f']],
  ]

  it.each(stages)('%s: a FIN', async (_name, answers) => {
    const [stream, peer] = duplexPair()
    const result = failure(handshake(stream, { destination, credentials }), 'ERR_SOCKS_CONNECTION_CLOSED')
    await play(peer, answers.map(hex))
    peer.end()
    await result
    expect(stream.destroyed).toBe(true)
  })

  it.each(stages)('%s: a reset', async (_name, answers) => {
    const [stream, peer] = duplexPair()
    const result = failure(handshake(stream, { destination, credentials }), 'ERR_SOCKS_CONNECTION_CLOSED')
    await play(peer, answers.map(hex))
    const broken = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
    stream.destroy(broken)
    expect((await result).cause).toBe(broken)
  })

  it('a stream that was destroyed, or whose end was read, before we began', async () => {
    const [gone] = duplexPair()
    gone.destroy()
    await failure(handshake(gone, { destination }), 'ERR_SOCKS_CONNECTION_CLOSED')

    const [ended, peer] = duplexPair()
    peer.end()
    for await (const _chunk of ended.iterator({ destroyOnReturn: false })) break
    expect(ended.readableEnded).toBe(true)
    await failure(handshake(ended, { destination }), 'ERR_SOCKS_CONNECTION_CLOSED')
  })

  it('a stream that throws from write() rejects', async () => {
    const stream = new Duplex({
      read() {},
      write() {
        throw new TypeError('broken stream')
      },
    })
    expect(await rejection(handshake(stream, { destination }))).toMatchObject({ message: 'broken stream' })
    expect(stream.destroyed).toBe(true)
  })
})

describe('success', () => {
  const BANNER = Buffer.from('220 banner')
  const bounds: readonly (readonly [string, string, object])[] = [
    ['IPv4', '01 7f 00 00 01 12 34', { type: 'ipv4', host: '127.0.0.1', port: 4660 }],
    ['IPv6', `04 ${'00'.repeat(15)}01 00 01`, { type: 'ipv6', host: '::1', port: 1 }],
    ['C68 an empty name', '03 00 12 34', { type: 'domain', host: '', port: 4660 }],
    [
      'C68 a name of 255 bytes',
      `03 ff ${'ff'.repeat(255)} 12 34`,
      { type: 'domain', host: 'ÿ'.repeat(255), port: 4660 },
    ],
  ]

  it.each(bounds)('C65 C66 BND is %s: split at every byte, the rest is the tunnel', async (_name, address, bound) => {
    const answer = Buffer.concat([hex('05 02 01 00 05 00 00'), hex(address), BANNER])
    const cuts = Array.from(answer.keys())
    for (const cut of cuts.filter((index) => index < 20 || index > answer.length - 15)) {
      const [stream, peer] = duplexPair()
      const result = handshake(stream, { destination, credentials })
      await play(peer, [answer.subarray(0, cut), answer.subarray(cut)])
      expect((await result).bound).toEqual(bound)
      peer.end()
      expect(Buffer.concat(await stream.toArray())).toEqual(BANNER)
    }
  })

  it('C66 a reply that comes byte by byte', async () => {
    const answer = Buffer.concat([hex('05 00'), SUCCESS, BANNER])
    const [stream, peer] = duplexPair()
    const result = handshake(stream, { destination })
    await play(
      peer,
      Array.from(answer, (byte) => Uint8Array.of(byte)),
    )
    await result
    peer.end()
    expect(Buffer.concat(await stream.toArray())).toEqual(BANNER)
  })

  it('C69 a reserved byte that is not zero is ignored', async () => {
    const [stream, peer] = duplexPair()
    const result = handshake(stream, { destination })
    await play(peer, [hex('05 00'), hex('05 00 ff 01 7f 00 00 01 12 34')])
    await expect(result).resolves.toBeDefined()
  })

  it('C65 leaves the stream idle, with the guard as its only listener', async () => {
    const [stream, peer] = duplexPair()
    const before = stream.eventNames().filter((name) => name !== 'error')
    const result = handshake(stream, { destination })
    await play(peer, [hex('05 00'), SUCCESS])
    await result
    expect(stream.readableFlowing).toBe(null)
    expect(stream.isPaused()).toBe(false)
    expect(stream.eventNames().filter((name) => name !== 'error')).toEqual(before)
    expect(stream.listenerCount('error')).toBe(1)
  })

  it('any bytes at all either open or fail, and nothing is thrown into the stream', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 12 }), { maxLength: 6 }), async (chunks) => {
        const [stream, peer] = duplexPair()
        peer.on('error', () => {})
        const result = handshake(stream, { destination, credentials }).then(
          () => 'open',
          (error: Error) => error.name,
        )
        await play(peer, chunks)
        peer.end()
        expect(['open', 'SocksError']).toContain(await result)
        stream.destroy()
      }),
      { numRuns: 200 },
    )
  })
})
