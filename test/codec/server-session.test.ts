import { describe, expect, it } from 'vitest'
import { type ServerEvent, type ServerMessage, ServerSession, type ServerState } from '../../src/codec/index.js'
import { bytes, concat, hex, plain, thrownBy } from '../support/bytes.js'
import { expectInvalidArgument, expectOutOfRange, NOT_BYTES, NOT_PORTS, socksError } from './laws.js'
import {
  CONNECT,
  CREDENTIALS,
  GREETING,
  LEGAL,
  MESSAGES,
  NO_AUTH,
  STATES,
  SUCCESS,
  sessionIn,
  walk,
} from './server-walk.js'

describe('ServerSession: transitions', () => {
  it('walks through username and password to an open tunnel', () => {
    const session = new ServerSession()
    expect(session.state).toBe('awaiting-greeting')
    session.receive(bytes('05 02 00 02'))
    expect(session.nextEvent()).toEqual({ type: 'greeting', methods: [0, 2] })
    expect(session.state).toBe('choosing-method')
    expect(hex(session.send({ type: 'method', method: 2 }))).toBe('0502')
    expect(session.state).toBe('awaiting-credentials')
    session.receive(bytes(CREDENTIALS))
    expect(plain(session.nextEvent())).toEqual({
      type: 'credentials',
      credentials: { username: '75736572', password: '70617373' },
    })
    expect(session.state).toBe('judging-credentials')
    expect(hex(session.send({ type: 'authStatus', status: 0 }))).toBe('0100')
    expect(session.state).toBe('awaiting-request')
    session.receive(bytes(CONNECT))
    expect(session.nextEvent()).toEqual({
      type: 'request',
      command: 1,
      destination: { type: 'ipv4', host: '127.0.0.1', port: 80 },
    })
    expect(session.state).toBe('judging-request')
    const bound = { type: 'ipv4', host: '10.0.0.1', port: 4660 } as const
    expect(hex(session.send({ type: 'reply', code: 0, bound }))).toBe('050000010a0000011234')
    expect(session.state).toBe('open')
  })

  it('walks from every state by every message that is legal there', () => {
    const ways: readonly [ServerState, ServerMessage, string, ServerState][] = [
      ['choosing-method', { type: 'method', method: 0x00 }, '0500', 'awaiting-request'],
      ['choosing-method', { type: 'method', method: 0x02 }, '0502', 'awaiting-credentials'],
      ['choosing-method', { type: 'method', method: 0x80 }, '0580', 'authenticating'],
      ['choosing-method', { type: 'method', method: 0xff }, '05ff', 'closed'],
      ['judging-credentials', { type: 'authStatus', status: 0x00 }, '0100', 'awaiting-request'],
      ['judging-credentials', { type: 'authStatus', status: 0x01 }, '0101', 'closed'],
      ['judging-credentials', { type: 'authStatus', status: 0xff }, '01ff', 'closed'],
      ['authenticating', { type: 'authData', data: bytes('abcd') }, 'abcd', 'authenticating'],
      ['authenticating', { type: 'authEnd' }, '', 'awaiting-request'],
      ['authenticating', { type: 'authEnd', unread: bytes('0501') }, '', 'awaiting-request'],
      ['judging-request', { type: 'reply', code: 0x00 }, '05000001000000000000', 'open'],
      ['judging-request', { type: 'reply', code: 0x05 }, '05050001000000000000', 'closed'],
      ['judging-request', { type: 'reply', code: 0xf6 }, '05f60001000000000000', 'closed'],
      ['listening', { type: 'reply', code: 0x00 }, '05000001000000000000', 'open'],
      ['listening', { type: 'reply', code: 0x06 }, '05060001000000000000', 'closed'],
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

  it('follows the command of the request: BIND listens, a look-up closes, everything else opens', () => {
    for (const [command, to] of [
      ['01', 'open'],
      ['02', 'listening'],
      ['03', 'open'],
      ['f0', 'closed'],
      ['f1', 'closed'],
      ['09', 'open'],
    ] as const) {
      const request = `05 ${command} 00 01 7f000001 0050`
      expect(walk([...NO_AUTH, request, SUCCESS]).state, command).toBe(to)
      expect(walk([...NO_AUTH, request, { type: 'reply', code: 1 }]).state, command).toBe('closed')
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
        const waiting = state === 'failed' ? '04' : 'aabb'
        expect(hex(session.takeRemaining()), `${state}: ${message.type}`).toBe(waiting)
        refused++
      }
    }
    expect(refused).toBe(88)
  })

  it('refuses a message that does not exist', () => {
    const session = sessionIn('choosing-method')
    for (const type of ['greeting', 'request', 'end', 'constructor', 'toString', '__proto__', '']) {
      const untyped: ServerMessage = JSON.parse(JSON.stringify({ type, method: 0 }))
      socksError(() => session.send(untyped), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    }
    expect(session.state).toBe('choosing-method')
    // The name of an event of the peer, in the state that waits for it.
    const event: ServerMessage = JSON.parse('{ "type": "greeting", "methods": [0] }')
    const waiting = sessionIn('awaiting-greeting')
    expect(() => waiting.send(event)).toThrow()
    expect(waiting.state).toBe('awaiting-greeting')
  })

  it('a legal message with a value that no message can hold changes nothing', () => {
    const unchanged = (state: ServerState, message: ServerMessage, check: (call: () => unknown) => void) => {
      const session = sessionIn(state)
      session.receive(bytes('aabb'))
      check(() => session.send(message))
      expect(session.state).toBe(state)
      expect(hex(session.takeRemaining())).toBe('aabb')
    }
    for (const byte of NOT_BYTES) {
      unchanged('choosing-method', { type: 'method', method: byte }, expectOutOfRange)
      unchanged('judging-credentials', { type: 'authStatus', status: byte }, expectOutOfRange)
      for (const state of ['judging-request', 'listening'] as const) {
        unchanged(state, { type: 'reply', code: byte }, expectOutOfRange)
      }
    }
    for (const port of NOT_PORTS) {
      const bound = { type: 'ipv4', host: '10.0.0.1', port } as const
      unchanged('judging-request', { type: 'reply', code: 0, bound }, expectOutOfRange)
      unchanged('listening', { type: 'reply', code: 0, bound }, expectOutOfRange)
    }
    for (const host of ['', 'x'.repeat(256), 'bücher.example', 'a\0b']) {
      const bound = { type: 'domain', host, port: 80 } as const
      unchanged('judging-request', { type: 'reply', code: 0, bound }, expectInvalidArgument)
    }
  })

  it('after a refused message the right one is still taken', () => {
    const session = sessionIn('judging-credentials')
    expectOutOfRange(() => session.send({ type: 'authStatus', status: 256 }))
    socksError(() => session.send(SUCCESS), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    expect(hex(session.send({ type: 'authStatus', status: 0 }))).toBe('0100')
    session.receive(bytes(CONNECT))
    expect(session.nextEvent()?.type).toBe('request')
  })

  it('wants bytes exactly while the peer has something to say', () => {
    const waiting: ServerState[] = ['awaiting-greeting', 'awaiting-credentials', 'authenticating', 'awaiting-request']
    for (const state of STATES) {
      const session = sessionIn(state)
      expect(session.wantsBytes, state).toBe(waiting.includes(state))
      if (state === 'failed') continue
      expect(session.nextEvent()).toBeUndefined()
      // Bytes that are no message of SOCKS lie untouched while it is not the peer's turn.
      if (session.wantsBytes) continue
      session.receive(bytes('ffff'))
      expect(session.nextEvent()).toBeUndefined()
      expect(hex(session.takeRemaining())).toBe('ffff')
    }
  })
})

describe('ServerSession: failure', () => {
  it('is for good: the same error every time, no message, no more bytes', () => {
    const session = new ServerSession({ receiveLimit: 4 })
    session.receive(bytes('04 01'))
    const error = thrownBy(() => session.nextEvent())
    for (let again = 0; again < 3; again++) expect(thrownBy(() => session.nextEvent())).toBe(error)
    expect(session.state).toBe('failed')
    expect(session.wantsBytes).toBe(false)
    expect(hex(session.takeRemaining())).toBe('0401')
    for (let again = 0; again < 10; again++) session.receive(bytes('05 01 00'))
    session.receiveEnd()
    expect(session.takeRemaining().length).toBe(0)
    expect(thrownBy(() => session.nextEvent())).toBe(error)
    for (const message of MESSAGES) socksError(() => session.send(message), 'ERR_SOCKS_ILLEGAL_MESSAGE')
  })

  it('S41 what waits is bounded; a chunk too many changes nothing', () => {
    const session = sessionIn('judging-request')
    const payload = new Uint8Array(65_535).fill(0x61)
    session.receive(payload)
    session.receive(bytes('62'))
    socksError(() => session.receive(bytes('63')), 'ERR_SOCKS_RECEIVE_OVERFLOW')
    expect(session.state).toBe('judging-request')
    session.send(SUCCESS)
    const remaining = session.takeRemaining()
    expect(remaining.length).toBe(65_536)
    expect([remaining[0], remaining[65_535]]).toEqual([0x61, 0x62])
  })

  it('S41 the bound is an option', () => {
    const session = new ServerSession({ receiveLimit: 8 })
    session.receive(bytes('05 04 00 02 80 81'))
    session.receive(bytes('01 02 03'))
    socksError(() => session.receive(bytes('04')), 'ERR_SOCKS_RECEIVE_OVERFLOW')
    expect(session.nextEvent()?.type).toBe('greeting')
    // Reading makes room.
    session.receive(bytes('04'))
    expect(hex(session.takeRemaining())).toBe('01020304')
  })
})

describe('ServerSession: everything in one segment', () => {
  it('S38 greeting and request are two events, one after the other', () => {
    const session = new ServerSession()
    session.receive(bytes(GREETING + CONNECT))
    const events: (ServerEvent['type'] | undefined)[] = [session.nextEvent()?.type, session.nextEvent()?.type]
    session.send({ type: 'method', method: 0 })
    events.push(session.nextEvent()?.type)
    expect(events).toEqual(['greeting', undefined, 'request'])
  })

  it('S39 the payload behind greeting, credentials and request comes out once, exactly', () => {
    const payload = concat(
      bytes('05 01 00'),
      Uint8Array.from({ length: 3_000 }, (_, index) => index & 0xff),
    )
    const session = new ServerSession()
    session.receive(concat(bytes(GREETING + CREDENTIALS + CONNECT), payload))
    expect(session.nextEvent()?.type).toBe('greeting')
    session.send({ type: 'method', method: 2 })
    expect(session.nextEvent()?.type).toBe('credentials')
    session.send({ type: 'authStatus', status: 0 })
    expect(session.nextEvent()?.type).toBe('request')
    session.send(SUCCESS)
    expect(session.nextEvent()).toBeUndefined()
    expect(hex(session.takeRemaining())).toBe(hex(payload))
    expect(session.takeRemaining().length).toBe(0)
  })

  it('S31 credentials and request in one segment, cut after every byte', () => {
    const input = bytes(`${GREETING}${CREDENTIALS}${CONNECT}686921`)
    for (let cut = 1; cut < input.length; cut++) {
      const session = new ServerSession()
      const seen: string[] = []
      for (const chunk of [input.subarray(0, cut), input.subarray(cut)]) {
        session.receive(chunk)
        for (let next = session.nextEvent(); next !== undefined; next = session.nextEvent()) {
          seen.push(next.type)
          if (next.type === 'greeting') session.send({ type: 'method', method: 2 })
          if (next.type === 'credentials') session.send({ type: 'authStatus', status: 0 })
          if (next.type === 'request') session.send(SUCCESS)
        }
      }
      expect(seen).toEqual(['greeting', 'credentials', 'request'])
      expect(hex(session.takeRemaining())).toBe('686921')
    }
  })
})
