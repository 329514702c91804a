import { describe, expect, it } from 'vitest'
import { type ClientEvent, credentialsFromText, type SocksErrorCode } from '../../src/codec/index.js'
import { bytes, concat, hex, utf8 } from '../support/bytes.js'
import {
  BINDING,
  BOUND,
  CONNECTING,
  CREDENTIALS,
  CUSTOM,
  event,
  failure,
  GREETING,
  NO_AUTH,
  request,
  USER_PASS,
  walk,
} from './client-walk.js'
import { expectOutOfRange, socksError } from './laws.js'

describe('ClientSession: method', () => {
  it('C3 the refusal of every method is an error, with nothing to send', () => {
    failure([GREETING], '05 ff', 'ERR_SOCKS_NO_ACCEPTABLE_METHOD')
    // Even where it was offered, it is no method.
    failure([{ type: 'greeting', methods: [0xff] }], '05 ff', 'ERR_SOCKS_NO_ACCEPTABLE_METHOD')
  })

  it('C8 a method that was not offered is an error, with nothing to send', () => {
    for (let method = 0; method < 0xff; method++) {
      if (method === 0x02) continue
      const answer = `05 ${hex(Uint8Array.of(method))}`
      failure([{ type: 'greeting', methods: [0x02] }], answer, 'ERR_SOCKS_METHOD_NOT_OFFERED')
    }
  })

  it('C9 of 00 and 02 the proxy may pick 00, and the request follows', () => {
    const session = walk([{ type: 'greeting', methods: [0x00, 0x02] }, '05 00'])
    expect(session.state).toBe('sending-request')
    socksError(() => session.send(CREDENTIALS), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    expect(session.send(request(1)).length).toBe(18)
  })

  it('C14 another version fails on its first byte; HTTP is told apart', () => {
    for (const answer of ['48 54', '48', '48 54 54 50 2f 31']) failure([GREETING], answer, 'ERR_SOCKS_PEER_IS_HTTP')
    for (const answer of ['15', '16 03 01']) failure([GREETING], answer, 'ERR_SOCKS_PEER_IS_TLS')
    for (const answer of ['00', '04', '06', 'ff', '01 00']) failure([GREETING], answer, 'ERR_SOCKS_BAD_VERSION')
  })

  it('C15 an end after 0 or 1 byte of the answer is an error, not a wait', () => {
    for (const answer of ['', '05']) {
      const session = walk([GREETING])
      session.receive(bytes(answer))
      expect(session.nextEvent()).toBeUndefined()
      session.receiveEnd()
      expect(socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED').response).toBeUndefined()
      expect(session.state).toBe('failed')
    }
  })

  it('an end behind the answer comes to light when the next one is due', () => {
    const session = walk([GREETING])
    session.receive(bytes('05 00'))
    session.receiveEnd()
    expect(session.nextEvent()).toEqual({ type: 'method', method: 0 })
    expect(session.nextEvent()).toBeUndefined()
    session.send(request(1))
    socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED')
  })
})

describe('ClientSession: authentication', () => {
  it('C21 a status with version 05 is accepted', () => {
    expect(event(USER_PASS, '05 00')).toEqual({ type: 'authStatus' })
    expect(failure(USER_PASS, '05 01', 'ERR_SOCKS_AUTH_FAILED').status).toBe(1)
    for (const answer of ['00', '02', '04', '48', 'ff']) failure(USER_PASS, answer, 'ERR_SOCKS_BAD_AUTH_VERSION')
  })

  it('C23 every status but 00 is a failure that tells the byte', () => {
    expect(event(USER_PASS, '01 00')).toEqual({ type: 'authStatus' })
    for (let status = 1; status <= 0xff; status++) {
      const error = failure(USER_PASS, `01 ${hex(Uint8Array.of(status))}`, 'ERR_SOCKS_AUTH_FAILED')
      expect(error.status).toBe(status)
    }
  })

  it('C25 an empty password is sent as a length of 00', () => {
    const session = walk([GREETING, '05 02'])
    expect(hex(session.send({ type: 'credentials', ...credentialsFromText('user', '') }))).toBe('01047573657200')
    const anonymous = walk([GREETING, '05 02'])
    expect(hex(anonymous.send({ type: 'credentials', ...credentialsFromText('', '') }))).toBe('010000')
  })

  it('C26 255 bytes are sent, 256 are refused before anything is', () => {
    const full = new Uint8Array(255).fill(0x61)
    const session = walk([GREETING, '05 02'])
    const long = new Uint8Array(256)
    expectOutOfRange(() => session.send({ type: 'credentials', username: long, password: full }))
    expectOutOfRange(() => session.send({ type: 'credentials', username: full, password: long }))
    expect(session.state).toBe('sending-credentials')
    expect(session.send({ type: 'credentials', username: full, password: full }).length).toBe(513)
  })

  it('no error names the credentials', () => {
    const error = failure(USER_PASS, '01 01', 'ERR_SOCKS_AUTH_FAILED')
    expect(`${error.message} ${JSON.stringify(error)} ${String(error.stack)}`).not.toMatch(/70617373|"pass"|user"/)
  })

  it('a custom method talks in raw bytes and gives back what it did not use', () => {
    const session = walk(CUSTOM)
    session.receive(bytes(`aabb ${BOUND} 6869`))
    const answer = session.nextEvent()
    if (answer?.type !== 'authData') throw new Error('no authData')
    expect(hex(answer.data).startsWith('aabb')).toBe(true)
    session.send({ type: 'authEnd', unread: answer.data.subarray(2) })
    session.send(request(1))
    expect(session.nextEvent()?.type).toBe('reply')
    expect(hex(session.takeRemaining())).toBe('6869')
  })

  it('an end in the middle of a custom method fails', () => {
    const session = walk(CUSTOM)
    session.receive(bytes('aa'))
    session.receiveEnd()
    expect(session.nextEvent()?.type).toBe('authData')
    socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED')
  })
})

describe('ClientSession: request', () => {
  it('sends the canonical form of the destination', () => {
    for (const [host, sent] of [
      ['EXAMPLE.com.', '030b6578616d706c652e636f6d'],
      ['127.0.0.1', '017f000001'],
      ['127.0.0.1.', '017f000001'],
      ['[::1]', `04${'00'.repeat(15)}01`],
      ['::ffff:127.0.0.1', '017f000001'],
    ] as const) {
      expect(hex(walk(NO_AUTH).send(request(1, host, 80)))).toBe(`050100${sent}0050`)
    }
  })

  it('C141 a host over 255 bytes is refused', () => {
    const session = walk(NO_AUTH)
    for (const length of [256, 257, 256 + 11, 65_536]) {
      socksError(() => session.send(request(1, 'x'.repeat(length))), 'ERR_SOCKS_INVALID_HOST')
    }
    expect(session.state).toBe('sending-request')
  })
})

describe('ClientSession: reply', () => {
  it('C64 a failure is decided at its second byte', () => {
    for (let code = 1; code <= 0xff; code++) {
      const error = failure(CONNECTING, `05 ${hex(Uint8Array.of(code))}`, replyCodeOf(code))
      expect(error.replyCode).toBe(code)
    }
    // Whatever follows it, even what could never be a reply, or the end.
    for (const tail of ['00', '00 09', 'ff ff ff', '00 01 00000000 0000', '00 03 ff']) {
      failure(CONNECTING, `05 05 ${tail}`, 'ERR_SOCKS_CONNECTION_REFUSED')
    }
    const session = walk(CONNECTING)
    session.receive(bytes('05 05'))
    session.receiveEnd()
    socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_REFUSED')
    // The first byte alone decides nothing.
    expect(event(CONNECTING, '05')).toBeUndefined()
  })

  it('C64 so is the failure of the second reply to BIND', () => {
    failure([...BINDING, BOUND], '05 06', 'ERR_SOCKS_TTL_EXPIRED')
  })

  it('C65 what follows a success belongs to the tunnel, byte for byte', () => {
    const banner = concat(utf8('SSH-2.0-x\r\n'), bytes(BOUND))
    for (const bound of ['01 0a000001 0050', `04 ${'00'.repeat(15)}01 0050`, '03 00 0050', '03 02 6869 0050']) {
      const session = walk(CONNECTING)
      session.receive(concat(bytes(`05 00 00 ${bound}`), banner))
      expect(session.nextEvent()?.type).toBe('reply')
      expect(session.nextEvent()).toBeUndefined()
      session.receive(bytes('00'))
      expect(hex(session.takeRemaining())).toBe(`${hex(banner)}00`)
      expect(session.takeRemaining().length).toBe(0)
    }
  })

  it('C66 a reply cut after every byte, and byte by byte, is one reply', () => {
    for (const bound of [
      '01 0a000001 0050',
      `04 ${'00'.repeat(15)}01 0050`,
      '03 00 0050',
      `03 ff ${'78'.repeat(255)} 0050`,
    ]) {
      const reply = bytes(`05 00 00 ${bound}`)
      for (let cut = 1; cut < reply.length; cut++) {
        const session = walk(CONNECTING)
        session.receive(reply.subarray(0, cut))
        expect(session.nextEvent()).toBeUndefined()
        session.receive(reply.subarray(cut))
        expect(session.nextEvent()?.type).toBe('reply')
        expect(session.takeRemaining().length).toBe(0)
      }
      const session = walk(CONNECTING)
      const events: (ClientEvent | undefined)[] = []
      for (const byte of reply) {
        session.receive(Uint8Array.of(byte))
        events.push(session.nextEvent())
      }
      expect(events.findIndex((next) => next !== undefined)).toBe(reply.length - 1)
    }
  })

  it('C67 every reply code but 00 has its error and keeps the raw code', () => {
    for (let code = 1; code <= 0xff; code++) {
      const error = failure(CONNECTING, `05 ${hex(Uint8Array.of(code))} 00 01 00000000 0000`, replyCodeOf(code))
      expect(error.replyCode).toBe(code)
    }
  })

  it('C68 a bound name of 0 and of 255 bytes parses, an unknown address type is an error', () => {
    expect(event(CONNECTING, '05 00 00 03 00 0050')).toEqual({
      type: 'reply',
      bound: { type: 'domain', host: '', port: 80 },
    })
    expect(event(CONNECTING, `05 00 00 03 ff ${'ff'.repeat(255)} 0050`)).toEqual({
      type: 'reply',
      bound: { type: 'domain', host: '\xff'.repeat(255), port: 80 },
    })
    for (const atyp of ['00', '02', '17', 'ff']) failure(CONNECTING, `05 00 00 ${atyp}`, 'ERR_SOCKS_BAD_ADDRESS_TYPE')
  })

  it('C69 the reserved byte is ignored', () => {
    for (const reserved of ['01', '7f', 'ff']) {
      expect(event(CONNECTING, `05 00 ${reserved} 01 0a000001 0050`)).toEqual({
        type: 'reply',
        bound: { type: 'ipv4', host: '10.0.0.1', port: 80 },
      })
    }
  })

  it('C70 an end instead of a reply, or in the middle of a success, is an error of its own', () => {
    const reply = bytes('05 00 00 03 02 6869 0050')
    for (let length = 0; length < reply.length; length++) {
      const session = walk(CONNECTING)
      session.receive(reply.subarray(0, length))
      expect(session.nextEvent()).toBeUndefined()
      session.receiveEnd()
      const error = socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED')
      expect(error.replyCode).toBeUndefined()
    }
  })

  it('another version fails on its first byte', () => {
    for (const answer of ['00 5a', '04', '01 00']) failure(CONNECTING, answer, 'ERR_SOCKS_BAD_VERSION')
    failure(CONNECTING, '48 54', 'ERR_SOCKS_PEER_IS_HTTP')
  })

  it('both replies to BIND in one segment are two events', () => {
    const session = walk(BINDING)
    session.receive(bytes(`${BOUND} 05 00 00 01 c0000207 1000 6869`))
    expect(session.nextEvent()).toEqual({ type: 'reply', bound: { type: 'ipv4', host: '10.0.0.1', port: 0x1234 } })
    expect(session.state).toBe('awaiting-peer-reply')
    expect(session.nextEvent()).toEqual({ type: 'reply', bound: { type: 'ipv4', host: '192.0.2.7', port: 0x1000 } })
    expect(session.state).toBe('open')
    expect(session.nextEvent()).toBeUndefined()
    expect(hex(session.takeRemaining())).toBe('6869')
  })
})

function replyCodeOf(code: number): SocksErrorCode {
  const known: readonly SocksErrorCode[] = [
    'ERR_SOCKS_GENERAL_FAILURE',
    'ERR_SOCKS_NOT_ALLOWED',
    'ERR_SOCKS_NETWORK_UNREACHABLE',
    'ERR_SOCKS_HOST_UNREACHABLE',
    'ERR_SOCKS_CONNECTION_REFUSED',
    'ERR_SOCKS_TTL_EXPIRED',
    'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
    'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED',
  ]
  const tor = code >= 0xf0 && code <= 0xf7
  return known[code - 1] ?? (tor ? 'ERR_SOCKS_TOR_REPLY' : 'ERR_SOCKS_UNASSIGNED_REPLY')
}
