import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReplyCode, ServerSession, SocksError } from '../../src/codec/index.js'
import { garbage } from '../support/arbitraries.js'
import { bytes, concat, hex, plain, thrownBy, utf8 } from '../support/bytes.js'
import { onlySocksErrors, socksError } from './laws.js'
import { CONNECT, failure, GREETING, NO_AUTH, SUCCESS, walk } from './server-walk.js'

const SOCKS4 = { socks4: true }
const REJECTED = '005b000000000000'
const USER = '75736572 00'

/** A CONNECT to 127.0.0.1:80 by `user`. */
const CONNECT4 = `04 01 0050 7f000001 ${USER}`
const BIND4 = `04 02 0050 7f000001 ${USER}`

/** A request of SOCKS4A. */
function named(name: string, { command = '01', user = USER, marker = '00000001' } = {}): string {
  return `04 ${command} 0050 ${marker} ${user} ${hex(utf8(name))} 00`
}

/** The first event of hex, as SOCKS4 is served. */
function request(input: string): unknown {
  const session = walk([], SOCKS4)
  session.receive(bytes(input))
  return plain(session.nextEvent())
}

function rejected(input: string, code: Parameters<typeof failure>[2]): void {
  const error = failure([], input, code, SOCKS4)
  expect(hex(error.response!), input).toBe(REJECTED)
}

describe('ServerSession: SOCKS4', () => {
  it('S126 begins with its request, and is answered by 8 bytes that begin with 00', () => {
    const session = walk([], SOCKS4)
    session.receive(bytes(CONNECT4))
    expect(plain(session.nextEvent())).toEqual({
      type: 'request',
      command: 1,
      destination: { type: 'ipv4', host: '127.0.0.1', port: 80 },
      userId: '75736572',
    })
    expect(session.state).toBe('judging-request')
    const bound = { type: 'ipv4', host: '10.0.0.1', port: 4660 } as const
    expect(hex(session.send({ type: 'reply', code: 0, bound }))).toBe('005a12340a000001')
    expect(session.state).toBe('open')
  })

  it('S126 every failure, by whatever code, is 5B and closes', () => {
    for (const code of [...Object.values(ReplyCode), 0x09, 0xf6, 0xff]) {
      if (code === ReplyCode.succeeded) continue
      const session = walk([CONNECT4], SOCKS4)
      const bound = { type: 'ipv4', host: '10.0.0.1', port: 1 } as const
      expect(hex(session.send({ type: 'reply', code })), String(code)).toBe(REJECTED)
      expect(session.state).toBe('closed')
      // Whatever the application adds, it is one reply of 8 bytes.
      expect(walk([CONNECT4], SOCKS4).send({ type: 'reply', code, bound })).toHaveLength(8)
    }
  })

  it('S126 BIND has two replies of that form', () => {
    const session = walk([BIND4], SOCKS4)
    const bound = { type: 'ipv4', host: '192.0.2.1', port: 0x0102 } as const
    expect(hex(session.send({ type: 'reply', code: 0, bound }))).toBe('005a0102c0000201')
    expect(session.state).toBe('listening')
    expect(hex(session.send({ type: 'reply', code: 0, bound: { ...bound, port: 9 } }))).toBe('005a0009c0000201')
    expect(session.state).toBe('open')
    const lonely = walk([BIND4, { type: 'reply', code: 0, bound }], SOCKS4)
    expect(hex(lonely.send({ type: 'reply', code: ReplyCode.ttlExpired }))).toBe(REJECTED)
    expect(lonely.state).toBe('closed')
  })

  it.each([
    ['00000001', true],
    ['000000ff', true],
    ['00000100', false],
    ['00010001', false],
    ['01000001', false],
    ['00000000', false],
    ['7f000001', false],
  ])('S127 DSTIP %s is followed by a name: %s', (ip, isMarker) => {
    const input = `04 01 0050 ${ip} 00 612e6578616d706c65 00`
    const session = walk([], SOCKS4)
    session.receive(bytes(input))
    const event = session.nextEvent()
    if (event?.type !== 'request') throw new Error('no request')
    if (isMarker) {
      expect(event.destination).toEqual({ type: 'domain', host: 'a.example', port: 80 })
      expect(session.takeRemaining()).toHaveLength(0)
    } else {
      expect(event.destination.type).toBe('ipv4')
      expect(hex(session.takeRemaining())).toBe('612e6578616d706c6500')
    }
  })

  it('S127 a name is canonical, and a literal that came as one is an address', () => {
    for (const [name, destination] of [
      ['Example.COM.', { type: 'domain', host: 'example.com' }],
      ['127.0.0.1', { type: 'ipv4', host: '127.0.0.1' }],
      ['::1', { type: 'ipv6', host: '::1' }],
      ['[::ffff:10.0.0.1]', { type: 'ipv4', host: '10.0.0.1' }],
    ] as const) {
      expect(request(named(name))).toMatchObject({ destination: { ...destination, port: 80 } })
    }
  })

  it('S128 a name that is empty, or that resolvers read in two ways, is rejected and never an event', () => {
    for (const name of [
      '',
      '127.1',
      '0x7f000001',
      '2130706433',
      'a..b',
      'a b',
      'localhost\n',
      '1.2.3.4%lo',
      'ü.example',
    ]) {
      for (const command of ['01', '02', 'f0']) rejected(named(name, { command }), 'ERR_SOCKS_INVALID_HOST')
    }
  })

  it('S128 USERID and name end within 255 bytes, told by the byte that is too many', () => {
    const longest = '61'.repeat(255)
    expect(request(`04 01 0050 7f000001 ${longest} 00`)).toMatchObject({ userId: longest })
    const session = walk([], SOCKS4)
    session.receive(bytes(`04 01 0050 7f000001 ${longest}`))
    expect(session.nextEvent()).toBeUndefined()
    session.receive(bytes('61'))
    expect(hex(socksError(() => session.nextEvent(), 'ERR_SOCKS_BAD_USER_ID').response!)).toBe(REJECTED)
    expect(session.state).toBe('failed')

    const before = `04 01 0050 00000001 ${USER}`
    const unfinished = walk([], SOCKS4)
    unfinished.receive(bytes(`${before} ${longest}`))
    expect(unfinished.nextEvent()).toBeUndefined()
    rejected(`${before} ${longest} 61`, 'ERR_SOCKS_INVALID_HOST')
    // It parses, and no name is as long.
    rejected(`${before} ${longest} 00`, 'ERR_SOCKS_INVALID_HOST')
  })

  it('S129 split at every place, and byte by byte: the same event, and the payload behind it is kept', () => {
    const payload = bytes('04 01 0050 7f000001 00 05 01 00')
    for (const input of [CONNECT4, BIND4, named('example.com'), named('a', { user: '00' })]) {
      const message = bytes(input)
      const wanted = request(input)
      const whole = concat(message, payload)
      for (let cut = 1; cut < whole.length; cut++) {
        const session = walk([], SOCKS4)
        session.receive(whole.subarray(0, cut))
        const early = session.nextEvent()
        expect(early !== undefined, `cut at ${cut}`).toBe(cut >= message.length)
        session.receive(whole.subarray(cut))
        expect(plain(early ?? session.nextEvent())).toEqual(wanted)
        expect(session.nextEvent(), 'it is our turn').toBeUndefined()
        expect(hex(session.takeRemaining())).toBe(hex(payload))
      }
      const session = walk([], SOCKS4)
      const events = Array.from(whole, (byte) => {
        session.receive(Uint8Array.of(byte))
        return session.nextEvent()
      })
      expect(events.filter((event) => event !== undefined).map(plain)).toEqual([wanted])
      expect(hex(session.takeRemaining())).toBe(hex(payload))
    }
  })

  it('S129 a name ends at its first NUL: what follows is payload, never part of what rules see', () => {
    const session = walk([], SOCKS4)
    session.receive(bytes(`${named('localhost')} ${hex(utf8('.example.com'))} 00`))
    expect(session.nextEvent()).toMatchObject({ destination: { type: 'domain', host: 'localhost' } })
    expect(hex(session.takeRemaining())).toBe(`${hex(utf8('.example.com'))}00`)
  })

  it('any command and port 0 are valid bytes, for the application to refuse', () => {
    for (const command of [0x00, 0x03, 0x09, 0xf1, 0xff]) {
      const input = `04 ${hex(Uint8Array.of(command))} 0000 7f000001 00`
      expect(request(input)).toMatchObject({ command, destination: { port: 0 }, userId: '' })
    }
  })

  it('S133 a look-up is closed by its answer', () => {
    const session = walk([named('example.com', { command: 'f0' })], SOCKS4)
    const bound = { type: 'ipv4', host: '192.0.2.9', port: 0 } as const
    expect(hex(session.send({ type: 'reply', code: 0, bound }))).toBe('005a0000c0000209')
    expect(session.state).toBe('closed')
  })

  it('S131 a BND that SOCKS4 has no room for is sent as zeros', () => {
    for (const bound of [
      { type: 'ipv6', host: '2001:db8::1', port: 80 },
      { type: 'domain', host: 'example.com', port: 80 },
      undefined,
    ] as const) {
      expect(hex(walk([CONNECT4], SOCKS4).send({ type: 'reply', code: 0, bound }))).toBe('005a000000000000')
    }
  })

  it('has nothing to do with methods or credentials', () => {
    for (const type of ['method', 'authStatus', 'authData', 'authEnd'] as const) {
      const session = walk([CONNECT4], SOCKS4)
      const message = { type, method: 0, status: 0, data: new Uint8Array(0) }
      socksError(() => session.send(message), 'ERR_SOCKS_ILLEGAL_MESSAGE')
      expect(session.state).toBe('judging-request')
    }
  })

  it('S18 the end before the first byte is no error; later it is one that nobody is told', () => {
    const idle = walk([], SOCKS4)
    idle.receiveEnd()
    expect(idle.nextEvent()).toEqual({ type: 'end' })
    const message = bytes(named('example.com'))
    for (let length = 1; length < message.length; length++) {
      const session = walk([], SOCKS4)
      session.receive(message.subarray(0, length))
      session.receiveEnd()
      const error = socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED')
      expect(error.response).toBeUndefined()
    }
    const complete = walk([], SOCKS4)
    complete.receive(message)
    complete.receiveEnd()
    expect(complete.nextEvent()).toMatchObject({ type: 'request' })
  })

  it('a user id owns its bytes', () => {
    const input = Buffer.from(bytes(CONNECT4))
    const session = walk([], SOCKS4)
    session.receive(input)
    const event = session.nextEvent()
    input.fill(0xee)
    expect(plain(event)).toMatchObject({ userId: '75736572' })
  })
})

describe('ServerSession: SOCKS4 beside SOCKS5', () => {
  it('S11 where it is not served, 04 is closed without a word, by the first byte', () => {
    for (const options of [{}, { socks4: false }, { socks4: undefined }]) {
      const error = failure([], '04', 'ERR_SOCKS_BAD_VERSION', options)
      expect([error.response, error.replyCode]).toEqual([undefined, undefined])
      expect(failure([], CONNECT4, 'ERR_SOCKS_BAD_VERSION', options).response).toBeUndefined()
    }
  })

  it('where it is served, SOCKS5 is as it was, and every other first byte, too', () => {
    const session = walk([...NO_AUTH, CONNECT, SUCCESS], SOCKS4)
    expect(session.state).toBe('open')
    const five = walk(NO_AUTH, SOCKS4)
    five.receive(bytes(CONNECT))
    expect(five.nextEvent()).not.toHaveProperty('userId')
    for (const [first, code] of [
      ['00', 'ERR_SOCKS_BAD_VERSION'],
      ['06', 'ERR_SOCKS_BAD_VERSION'],
      ['16', 'ERR_SOCKS_PEER_IS_TLS'],
    ] as const) {
      expect(failure([], first, code, SOCKS4).response).toBeUndefined()
    }
    const hint = failure([], '47', 'ERR_SOCKS_PEER_IS_HTTP', SOCKS4).response
    expect(Buffer.from(hint!).toString()).toMatch(/^HTTP\/1\.0 501 /)
  })

  it('is read as the first message alone: past a greeting, 04 is a wrong version and gets no reply of SOCKS4', () => {
    expect(failure(NO_AUTH, CONNECT4, 'ERR_SOCKS_BAD_VERSION', SOCKS4).response).toBeUndefined()
    const beforeCredentials = [GREETING, { type: 'method', method: 2 }] as const
    expect(failure(beforeCredentials, '04', 'ERR_SOCKS_BAD_AUTH_VERSION', SOCKS4).response).toBeUndefined()
  })

  it('whatever comes, nothing but a SocksError is thrown, and what it owes is one reply of 8 bytes', () => {
    fc.assert(
      fc.property(garbage(600), fc.array(fc.nat(600), { maxLength: 4 }), (input, cuts) => {
        const session = new ServerSession(SOCKS4)
        const message = concat(Uint8Array.of(0x04), input)
        let from = 0
        for (const to of [...cuts.sort((a, b) => a - b), message.length]) {
          session.receive(message.subarray(from, to))
          from = Math.max(from, to)
          onlySocksErrors(() => session.nextEvent())
        }
        if (session.state !== 'failed') return
        const { response } = socksErrorOf(session)
        if (response !== undefined && hex(response) !== REJECTED) throw new Error(hex(response))
      }),
    )
  })
})

/** The error that a failed session throws for good. */
function socksErrorOf(session: ServerSession): SocksError {
  const error = thrownBy(() => session.nextEvent())
  if (!(error instanceof SocksError)) throw error
  return error
}
