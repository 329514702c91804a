import { describe, expect, it } from 'vitest'
import { encodeReply, ServerSession } from '../../src/codec/index.js'
import { bytes, hex, thrownBy } from '../support/bytes.js'
import { socksError } from './laws.js'
import {
  CONNECT,
  CREDENTIALS,
  CUSTOM,
  connectTo,
  destinationOf,
  event,
  expectRejected,
  failure,
  GREETING,
  NO_AUTH,
  type Step,
  SUCCESS,
  sessionIn,
  USER_PASS,
  walk,
} from './server-walk.js'

describe('ServerSession: request', () => {
  it('S36 every strict prefix of every message of the client leaves the session waiting', () => {
    const messages: readonly [Step[], string][] = [
      [[], GREETING],
      [[], `05 ff ${'00'.repeat(255)}`],
      [USER_PASS, CREDENTIALS],
      [USER_PASS, `01 ff ${'75'.repeat(255)} ff ${'70'.repeat(255)}`],
      [NO_AUTH, CONNECT],
      [NO_AUTH, `05 01 00 04 ${'00'.repeat(15)}01 0050`],
      [NO_AUTH, connectTo('example.com')],
      [NO_AUTH, connectTo('')],
      [NO_AUTH, connectTo('x'.repeat(255))],
    ]
    for (const [steps, text] of messages) {
      const message = bytes(text)
      for (let end = 0; end < message.length; end++) {
        const session = walk(steps)
        const before = session.state
        session.receive(message.subarray(0, end))
        expect(session.nextEvent()).toBeUndefined()
        expect(session.state).toBe(before)
        expect(session.takeRemaining().length).toBe(end)
      }
    }
  })

  it('S42 another version fails at once, and nothing is answered', () => {
    for (const first of ['00', '01', '04', 'ff']) {
      expect(failure(NO_AUTH, first, 'ERR_SOCKS_BAD_VERSION').response).toBeUndefined()
    }
  })

  it('S43 a reserved byte is ignored, or strictly answered by 01', () => {
    const odd = '05 01 7f 01 7f000001 0050'
    expect(event(NO_AUTH, odd)).toMatchObject({ type: 'request', destination: { host: '127.0.0.1' } })
    const error = failure(NO_AUTH, odd, 'ERR_SOCKS_BAD_RESERVED', { strictReserved: true })
    expect(error.replyCode).toBe(1)
    expect(hex(error.response!)).toBe('05010001000000000000')
    expect(event(NO_AUTH, CONNECT, { strictReserved: true })).toMatchObject({ type: 'request' })
  })

  it('S44 an unknown command is an event with its whole address, to be answered by 07', () => {
    for (const command of ['00', '04', '09', 'ff']) {
      const session = walk(NO_AUTH)
      session.receive(bytes(`05 ${command} 00 03 0b 6578616d706c652e636f6d 01bb 7061`))
      expect(session.nextEvent()).toEqual({
        type: 'request',
        command: Number.parseInt(command, 16),
        destination: { type: 'domain', host: 'example.com', port: 443 },
      })
      expect(hex(session.send({ type: 'reply', code: 7 }))).toBe('05070001000000000000')
      expect(session.state).toBe('closed')
    }
  })

  it('S46 an unknown address type is answered by 08', () => {
    for (const atyp of ['00', '02', '05', 'ff']) {
      const error = failure(NO_AUTH, `05 01 00 ${atyp}`, 'ERR_SOCKS_BAD_ADDRESS_TYPE')
      expect(error.replyCode).toBe(8)
      expect(hex(error.response!)).toBe('05080001000000000000')
    }
  })

  it('S47 a bad command with a bad address type is answered exactly once', () => {
    const session = walk(NO_AUTH)
    session.receive(bytes('05 09 00 05 7f000001 0050'))
    const error = socksError(() => session.nextEvent(), 'ERR_SOCKS_BAD_ADDRESS_TYPE')
    expect(hex(error.response!)).toBe('05080001000000000000')
    socksError(() => session.send({ type: 'reply', code: 7 }), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    expect(thrownBy(() => session.nextEvent())).toBe(error)
  })

  it('S48 zero-length domain is never dialed', () => {
    expectRejected('', 1)
    // Nor for the commands that look a name up, or that nobody knows.
    for (const command of ['f0', 'f1', '09']) {
      const error = failure(NO_AUTH, `05 ${command} 00 03 00 0050`, 'ERR_SOCKS_INVALID_HOST')
      expect(hex(error.response!)).toBe('05010001000000000000')
    }
  })

  it('an empty domain stands for any address in BIND and UDP ASSOCIATE', () => {
    for (const command of ['02', '03']) {
      expect(event(NO_AUTH, `05 ${command} 00 03 00 1234`)).toMatchObject({
        type: 'request',
        destination: { type: 'ipv4', host: '0.0.0.0', port: 0x1234 },
      })
    }
  })

  it('S49 a domain with NUL is rejected', () => {
    for (const name of ['localhost\0.evil.com', 'localhost\0', '\0localhost', '\0', '127.0.0.1\0.example.com']) {
      expectRejected(name, 4)
    }
  })

  it('S50 a domain with anything but letters, digits, hyphen, underscore and dot is rejected', () => {
    for (let byte = 0; byte <= 0xff; byte++) {
      const character = String.fromCharCode(byte)
      if (/[0-9A-Za-z._-]/.test(character)) continue
      expectRejected(`a${character}b`, 4)
    }
    for (const name of ['""""', 'a\r\nb', 'user@host', 'a/b', 'host:80', '100%', ' ', '\x7f', '\xff'])
      expectRejected(name, 4)
  })

  it('S51 underscores pass, case is lowered, one trailing dot is dropped', () => {
    expect(destinationOf('_dmarc.Example.COM.')).toEqual({ type: 'domain', host: '_dmarc.example.com', port: 80 })
    expect(destinationOf('LOCALHOST.')).toEqual({ type: 'domain', host: 'localhost', port: 80 })
    expect(destinationOf('LocalHost')).toEqual({ type: 'domain', host: 'localhost', port: 80 })
  })

  it('S52 a label over 63, an empty label and a name over 253 are rejected', () => {
    const long = 'a'.repeat(63)
    expect(destinationOf(`${long}.example`)).toMatchObject({ host: `${long}.example` })
    expectRejected(`${long}a.example`, 4)
    for (const name of ['.', '..', '...', 'a..b', '.a', 'a..']) expectRejected(name, 4)
    const name253 = `${long}.${long}.${long}.${'a'.repeat(61)}`
    expect(destinationOf(name253)).toMatchObject({ host: name253 })
    expect(destinationOf(`${name253}.`)).toMatchObject({ host: name253 })
    expectRejected(`${name253}a`, 4)
    expectRejected(`${name253}aa`, 4)
    expectRejected('x'.repeat(255), 4)
  })

  it('S53 a domain that is an IPv4 literal is that address', () => {
    expect(destinationOf('127.0.0.1')).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 80 })
    expect(destinationOf('127.0.0.1.')).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 80 })
  })

  it('S54 inet_aton spellings are rejected', () => {
    for (const name of [
      '127.1',
      '0',
      '0x7f000001',
      '2130706433',
      '0177.0.0.1',
      '127.0.1',
      '0x7f.1',
      '017700000001',
      '127.0.0.01',
      '0X7F.0.0.0X1',
      '127.1.',
    ]) {
      expectRejected(name, 4)
    }
  })

  it('S55 a domain that is an IPv6 literal is that address, with or without brackets', () => {
    const loopback = { type: 'ipv6', host: '::1', port: 80 }
    for (const name of ['::1', '[::1]', '0:0:0:0:0:0:0:1', '[0000::0001]'])
      expect(destinationOf(name)).toEqual(loopback)
    expect(destinationOf('::ffff:127.0.0.1')).toEqual({ type: 'ipv4', host: '127.0.0.1', port: 80 })
    for (const name of ['[::1', '::1]', '[]', '[127.0.0.1]', '[[::1]]', '[::1]:80']) expectRejected(name, 4)
  })

  it('S56 a zone is rejected', () => {
    for (const name of ['fe80::1%eth0', '[fe80::1%eth0]', 'fe80::1%1', '::1%lo']) expectRejected(name, 4)
  })

  it('S57 an IPv4-mapped address is told as IPv4', () => {
    const mapped = `05 01 00 04 ${'00'.repeat(10)} ffff 7f000001 0050`
    expect(event(NO_AUTH, mapped)).toEqual({
      type: 'request',
      command: 1,
      destination: { type: 'ipv4', host: '127.0.0.1', port: 80 },
    })
  })

  it('S102 nonsense in UDP ASSOCIATE is as good as nothing, and nonsense elsewhere is refused', () => {
    // The name "0" on port 0, which PySocks sends; and one that no rule should see.
    for (const name of ['0130', '03610062']) {
      expect(event(NO_AUTH, `05030003${name}0000`)).toEqual({
        type: 'request',
        command: 3,
        destination: { type: 'ipv4', host: '0.0.0.0', port: 0 },
      })
      for (const command of ['01', '02']) {
        socksError(() => event(NO_AUTH, `05${command}0003${name}0000`), 'ERR_SOCKS_INVALID_HOST')
      }
    }
  })

  it('S61 an end in the middle of any message fails, and nothing is answered', () => {
    for (const [steps, text] of [
      [[], GREETING],
      [USER_PASS, CREDENTIALS],
      [NO_AUTH, CONNECT],
    ] as const) {
      const message = bytes(text)
      for (let end = steps.length === 0 ? 1 : 0; end < message.length; end++) {
        const session = walk(steps)
        session.receive(message.subarray(0, end))
        session.receiveEnd()
        const error = socksError(() => session.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED')
        expect(error.response).toBeUndefined()
        expect(session.state).toBe('failed')
      }
    }
  })

  it('S136 an end behind what a custom method has read is its own to judge: that may be all it needs', () => {
    const custom = walk(CUSTOM)
    custom.receive(bytes('aabb'))
    custom.receiveEnd()
    expect(custom.nextEvent()).toMatchObject({ type: 'authData' })
    expect(custom.nextEvent()).toBeUndefined()
    expect(custom.state).toBe('authenticating')
    custom.send({ type: 'authEnd', unread: bytes(CONNECT) })
    expect(custom.nextEvent()?.type).toBe('request')
    // The request is there: what the end now means is a half-close.
    expect(custom.nextEvent()).toBeUndefined()
    const short = walk(CUSTOM)
    short.receiveEnd()
    short.send({ type: 'authEnd' })
    socksError(() => short.nextEvent(), 'ERR_SOCKS_CONNECTION_CLOSED')
  })

  it('an end behind a whole message changes nothing: it is a half-close', () => {
    const session = new ServerSession()
    session.receive(bytes(`${GREETING}${CONNECT}6869`))
    session.receiveEnd()
    expect(session.nextEvent()?.type).toBe('greeting')
    expect(session.nextEvent()).toBeUndefined()
    session.send({ type: 'method', method: 0 })
    expect(session.nextEvent()?.type).toBe('request')
    expect(session.nextEvent()).toBeUndefined()
    session.send(SUCCESS)
    expect(session.state).toBe('open')
    expect(hex(session.takeRemaining())).toBe('6869')
    expect(session.nextEvent()).toBeUndefined()
  })
})

describe('ServerSession: replies', () => {
  it('S63 every reply is one full message', () => {
    for (let code = 0; code <= 0xff; code++) {
      const session = sessionIn('judging-request')
      expect(hex(session.send({ type: 'reply', code }))).toBe(hex(encodeReply({ code })))
      expect(session.state).toBe(code === 0 ? 'open' : 'closed')
    }
  })

  it('S78 a failure without a bound address says 0.0.0.0:0', () => {
    for (let code = 1; code <= 0xff; code++) {
      expect(hex(sessionIn('judging-request').send({ type: 'reply', code })).slice(6)).toBe('01000000000000')
    }
  })

  it('BIND is answered twice; what the client says in between is not read', () => {
    const session = sessionIn('listening')
    session.receive(bytes('05 01 00'))
    expect(session.nextEvent()).toBeUndefined()
    const peer = { type: 'ipv4', host: '192.0.2.7', port: 4096 } as const
    expect(hex(session.send({ type: 'reply', code: 0, bound: peer }))).toBe('05000001c00002071000')
    expect(session.state).toBe('open')
    socksError(() => session.send(SUCCESS), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    expect(hex(session.takeRemaining())).toBe('050100')
  })
})
