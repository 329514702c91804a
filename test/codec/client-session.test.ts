import { describe, expect, it } from 'vitest'
import { type ClientMessage, ClientSession, type ClientState } from '../../src/codec/index.js'
import { bytes, hex, thrownBy, utf8 } from '../support/bytes.js'
import {
  BOUND,
  CREDENTIALS,
  GREETING,
  LEGAL,
  MESSAGES,
  NO_AUTH,
  request,
  STATES,
  sessionIn,
  walk,
} from './client-walk.js'
import { expectOutOfRange, NOT_BYTES, NOT_PORTS, socksError } from './laws.js'

describe('ClientSession: transitions', () => {
  it('walks through username and password to an open tunnel', () => {
    const session = new ClientSession()
    expect(session.state).toBe('initial')
    expect(hex(session.send({ type: 'greeting', methods: [0, 2] }))).toBe('05020002')
    expect(session.state).toBe('awaiting-method')
    session.receive(bytes('05 02'))
    expect(session.nextEvent()).toEqual({ type: 'method', method: 2 })
    expect(session.state).toBe('sending-credentials')
    expect(hex(session.send(CREDENTIALS))).toBe('0104757365720470617373')
    expect(session.state).toBe('awaiting-status')
    session.receive(bytes('01 00'))
    expect(session.nextEvent()).toEqual({ type: 'authStatus' })
    expect(session.state).toBe('sending-request')
    expect(hex(session.send(request(1)))).toBe('050100030b6578616d706c652e636f6d01bb')
    expect(session.state).toBe('awaiting-reply')
    session.receive(bytes(BOUND))
    expect(session.nextEvent()).toEqual({ type: 'reply', bound: { type: 'ipv4', host: '10.0.0.1', port: 0x1234 } })
    expect(session.state).toBe('open')
  })

  it('walks from every state by every message that is legal there', () => {
    const ways: readonly [ClientState, ClientMessage, string, ClientState][] = [
      ['initial', { type: 'greeting', methods: [0x00] }, '050100', 'awaiting-method'],
      ['sending-credentials', CREDENTIALS, '0104757365720470617373', 'awaiting-status'],
      ['authenticating', { type: 'authData', data: bytes('abcd') }, 'abcd', 'authenticating'],
      ['authenticating', { type: 'authEnd' }, '', 'sending-request'],
      ['authenticating', { type: 'authEnd', unread: bytes('0500') }, '', 'sending-request'],
      ['sending-request', request(0x01, '127.0.0.1', 80), '050100017f0000010050', 'awaiting-reply'],
      ['sending-request', request(0x02, '0.0.0.0', 0), '05020001000000000000', 'awaiting-reply'],
      ['sending-request', request(0x03, '::', 0), `05030004${'00'.repeat(18)}`, 'awaiting-reply'],
      ['sending-request', request(0xf1, '127.0.0.1', 0), '05f100017f0000010000', 'awaiting-reply'],
    ]
    for (const [from, message, sent, to] of ways) {
      const session = sessionIn(from)
      expect(hex(session.send(message)), `${from}: ${message.type}`).toBe(sent)
      expect(session.state).toBe(to)
    }
    // Nothing that is legal is left out above.
    for (const state of STATES) {
      const walked = ways.filter(([from]) => from === state).map(([, message]) => message.type)
      expect([...new Set(walked)].sort()).toEqual([...LEGAL[state]].sort())
    }
  })

  it('follows the method and the command', () => {
    for (const [method, to] of [
      ['00', 'sending-request'],
      ['02', 'sending-credentials'],
      ['80', 'authenticating'],
    ] as const) {
      expect(walk([GREETING, `05 ${method}`]).state).toBe(to)
    }
    for (const [command, to] of [
      [0x01, 'open'],
      [0x02, 'awaiting-peer-reply'],
      [0x03, 'open'],
      [0xf0, 'closed'],
      [0xf1, 'closed'],
      [0x09, 'open'],
    ] as const) {
      expect(walk([...NO_AUTH, request(command), BOUND]).state).toBe(to)
    }
  })

  it('every message out of its turn is refused and changes nothing', () => {
    let refused = 0
    for (const state of STATES) {
      for (const message of MESSAGES) {
        if (LEGAL[state].includes(message.type)) continue
        const session = sessionIn(state)
        session.receive(bytes('aabb'))
        socksError(() => session.send(message), 'ERR_SOCKS_ILLEGAL_MESSAGE')
        expect(session.state).toBe(state)
        expect(hex(session.takeRemaining()), `${state}: ${message.type}`).toBe(state === 'failed' ? '' : 'aabb')
        refused++
      }
    }
    expect(refused).toBe(70)
  })

  it('a legal message with a value that no message can hold changes nothing', () => {
    const unchanged = (state: ClientState, message: ClientMessage, check: (call: () => unknown) => void) => {
      const session = sessionIn(state)
      session.receive(bytes('aabb'))
      check(() => session.send(message))
      expect(session.state).toBe(state)
      expect(hex(session.takeRemaining())).toBe('aabb')
    }
    const invalidHost = (call: () => unknown) => void socksError(call, 'ERR_SOCKS_INVALID_HOST')
    const invalidPort = (call: () => unknown) => void socksError(call, 'ERR_SOCKS_INVALID_PORT')
    const long = new Uint8Array(256)
    const short = utf8('x')
    unchanged('initial', { type: 'greeting', methods: [] }, expectOutOfRange)
    unchanged('initial', { type: 'greeting', methods: Array.from({ length: 256 }, () => 0) }, expectOutOfRange)
    unchanged('sending-credentials', { type: 'credentials', username: long, password: short }, expectOutOfRange)
    unchanged('sending-credentials', { type: 'credentials', username: short, password: long }, expectOutOfRange)
    for (const byte of NOT_BYTES) {
      unchanged('initial', { type: 'greeting', methods: [0, byte] }, expectOutOfRange)
      unchanged('sending-request', request(byte), expectOutOfRange)
    }
    for (const port of [...NOT_PORTS, 70_000]) {
      unchanged('sending-request', request(1, 'example.com', port), invalidPort)
    }
    for (const host of ['', 'x'.repeat(254), 'x'.repeat(256), 'bücher.example', 'a\0b', '127.1', 'fe80::1%eth0']) {
      unchanged('sending-request', request(1, host), invalidHost)
    }
  })

  it('a refused greeting offers nothing', () => {
    const session = new ClientSession()
    expectOutOfRange(() => session.send({ type: 'greeting', methods: [0x02, 256] }))
    session.send({ type: 'greeting', methods: [0x00] })
    session.receive(bytes('05 02'))
    socksError(() => session.nextEvent(), 'ERR_SOCKS_METHOD_NOT_OFFERED')
  })

  it('a refused request names no command', () => {
    const session = walk(NO_AUTH)
    socksError(() => session.send(request(0x02, 'a b')), 'ERR_SOCKS_INVALID_HOST')
    session.send(request(0x01))
    session.receive(bytes(BOUND))
    session.nextEvent()
    expect(session.state).toBe('open')
  })

  it('what was offered is what was sent, whatever becomes of the list', () => {
    const methods = [0x00]
    const session = new ClientSession()
    session.send({ type: 'greeting', methods })
    methods.push(0x80)
    session.receive(bytes('05 80'))
    socksError(() => session.nextEvent(), 'ERR_SOCKS_METHOD_NOT_OFFERED')
  })

  it('wants bytes exactly while the proxy has something to say', () => {
    const waiting: ClientState[] = [
      'awaiting-method',
      'awaiting-status',
      'authenticating',
      'awaiting-reply',
      'awaiting-peer-reply',
    ]
    for (const state of STATES) {
      const session = sessionIn(state)
      expect(session.wantsBytes, state).toBe(waiting.includes(state))
      if (state === 'failed') continue
      expect(session.nextEvent()).toBeUndefined()
      // Bytes that are no message of SOCKS lie untouched while it is not the proxy's turn.
      if (session.wantsBytes) continue
      session.receive(bytes('ffff'))
      session.receiveEnd()
      expect(session.nextEvent()).toBeUndefined()
      expect(hex(session.takeRemaining())).toBe('ffff')
    }
  })
})

describe('ClientSession: failure', () => {
  it('is for good: the same error every time, no message, no more bytes', () => {
    const session = new ClientSession({ receiveLimit: 4 })
    session.send(GREETING)
    session.receive(bytes('05 ff'))
    const error = thrownBy(() => session.nextEvent())
    expect(error).toMatchObject({ code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' })
    for (let again = 0; again < 10; again++) session.receive(bytes('05 00 00'))
    session.receiveEnd()
    expect(session.takeRemaining().length).toBe(0)
    expect(session.wantsBytes).toBe(false)
    expect(thrownBy(() => session.nextEvent())).toBe(error)
    for (const message of MESSAGES) socksError(() => session.send(message), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    expect(session.state).toBe('failed')
  })

  it('what waits is bounded', () => {
    const session = new ClientSession({ receiveLimit: 4 })
    session.receive(bytes('05 00 aa bb'))
    socksError(() => session.receive(bytes('cc')), 'ERR_SOCKS_RECEIVE_OVERFLOW')
    expect(session.state).toBe('initial')
    session.send(GREETING)
    expect(session.nextEvent()).toEqual({ type: 'method', method: 0 })
    session.receive(bytes('cc'))
    expect(hex(session.takeRemaining())).toBe('aabbcc')
  })

  it('waits for 64 KiB by default', () => {
    const session = sessionIn('sending-request')
    session.receive(new Uint8Array(65_536))
    socksError(() => session.receive(bytes('00')), 'ERR_SOCKS_RECEIVE_OVERFLOW')
    expect(session.takeRemaining().length).toBe(65_536)
  })
})
