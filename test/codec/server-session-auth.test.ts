import { describe, expect, it } from 'vitest'
import { ServerSession } from '../../src/codec/index.js'
import { bytes, hex, plain } from '../support/bytes.js'
import { socksError } from './laws.js'
import {
  CONNECT,
  CREDENTIALS,
  CUSTOM,
  event,
  failure,
  MESSAGES,
  NO_AUTH,
  type Step,
  SUCCESS,
  sessionIn,
  USER_PASS,
  walk,
} from './server-walk.js'

describe('ServerSession: greeting', () => {
  it('S1 an empty list of methods can be answered by nothing but FF', () => {
    const session = new ServerSession()
    session.receive(bytes('05 00'))
    expect(session.nextEvent()).toEqual({ type: 'greeting', methods: [] })
    socksError(() => session.send({ type: 'method', method: 0x00 }), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    expect(hex(session.send({ type: 'method', method: 0xff }))).toBe('05ff')
    expect(session.state).toBe('closed')
  })

  it('S2 after FF nothing more can be said', () => {
    const session = sessionIn('closed')
    for (const message of MESSAGES) socksError(() => session.send(message), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    session.receive(bytes(CREDENTIALS))
    expect(session.nextEvent()).toBeUndefined()
  })

  it('S5 a method that is offered twice is one event and one answer', () => {
    const session = walk(['05 03 00 00 00'])
    expect(hex(session.send({ type: 'method', method: 0 }))).toBe('0500')
    socksError(() => session.send({ type: 'method', method: 0 }), 'ERR_SOCKS_ILLEGAL_MESSAGE')
  })

  it('S6 to a client that offers FF alone, 00 cannot be said', () => {
    const session = walk(['05 01 ff'])
    socksError(() => session.send({ type: 'method', method: 0x00 }), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    expect(hex(session.send({ type: 'method', method: 0xff }))).toBe('05ff')
    expect(session.state).toBe('closed')
  })

  it('S7 a method that was not offered cannot be selected', () => {
    for (let offered = 0; offered < 0xff; offered++) {
      const session = walk([`05 01 ${hex(Uint8Array.of(offered))}`])
      for (const method of [0x00, 0x01, 0x02, 0x80, 0xfe]) {
        if (method === offered) continue
        socksError(() => session.send({ type: 'method', method }), 'ERR_SOCKS_ILLEGAL_MESSAGE')
      }
      expect(session.state).toBe('choosing-method')
      expect(Array.from(session.send({ type: 'method', method: offered }))).toEqual([0x05, offered])
    }
  })

  it('S11 another version fails on the first byte, and nothing is answered', () => {
    for (const first of ['00', '01', '04', '06', 'ff']) {
      expect(failure([], first, 'ERR_SOCKS_BAD_VERSION').response).toBeUndefined()
    }
  })

  it('S12 HTTP is answered by an HTTP hint, and its bytes stay unread for another handler', () => {
    for (const line of ['CONNECT example.com:443 HTTP/1.1\r\n', 'GET / HTTP/1.1\r\n', 'POST /', 'H', 'D', 'O', 'T']) {
      const session = new ServerSession()
      const input = Uint8Array.from(line, (character) => character.charCodeAt(0))
      session.receive(input)
      const error = socksError(() => session.nextEvent(), 'ERR_SOCKS_PEER_IS_HTTP')
      const hint = new TextDecoder().decode(error.response)
      expect(hint).toMatch(/^HTTP\/1\.0 501 [^\r\n]+\r\n(?:[^\r\n]+\r\n)+\r\n[^\r]+SOCKS5/)
      expect(hex(session.takeRemaining())).toBe(hex(input))
    }
    // Once SOCKS was spoken, HTTP on the same connection gets no hint.
    expect(failure(NO_AUTH, '47 45 54', 'ERR_SOCKS_PEER_IS_HTTP').response).toBeUndefined()
  })

  it('S13 TLS has a code of its own, and nothing is answered', () => {
    expect(failure([], '16 03 01 02 00', 'ERR_SOCKS_PEER_IS_TLS').response).toBeUndefined()
    expect(failure([], '15', 'ERR_SOCKS_PEER_IS_TLS').response).toBeUndefined()
  })

  it('S18 a client that connects and leaves is an event, no error', () => {
    const session = new ServerSession()
    session.receiveEnd()
    expect(session.nextEvent()).toEqual({ type: 'end' })
    expect(session.state).toBe('closed')
    expect(session.nextEvent()).toBeUndefined()
  })
})

describe('ServerSession: authentication', () => {
  it('S19 version 05 of the sub-negotiation fails, or is accepted leniently', () => {
    const message = '05 04 75736572 04 70617373'
    expect(failure(USER_PASS, message, 'ERR_SOCKS_BAD_AUTH_VERSION').response).toBeUndefined()
    expect(event(USER_PASS, message, { lenientAuthVersion: true })).toEqual({
      type: 'credentials',
      credentials: { username: '75736572', password: '70617373' },
    })
    failure(USER_PASS, '04', 'ERR_SOCKS_BAD_AUTH_VERSION', { lenientAuthVersion: true })
  })

  it('S20 the answer is 01 and the status, whatever version the client sent', () => {
    const steps: Step[] = [...USER_PASS, '05 04 75736572 04 70617373']
    for (const status of [0x00, 0x01, 0x05, 0xff]) {
      const session = walk(steps, { lenientAuthVersion: true })
      expect(Array.from(session.send({ type: 'authStatus', status }))).toEqual([0x01, status])
    }
  })

  it('S22 after a status that is not 00 no request is read', () => {
    for (const status of [0x01, 0x7f, 0xff]) {
      const session = walk([...USER_PASS, CREDENTIALS, { type: 'authStatus', status }])
      expect(session.state).toBe('closed')
      session.receive(bytes(CONNECT))
      expect(session.nextEvent()).toBeUndefined()
      socksError(() => session.send(SUCCESS), 'ERR_SOCKS_ILLEGAL_MESSAGE')
    }
  })

  it('S24 empty credentials reach the verifier', () => {
    expect(event(USER_PASS, '01 00 00')).toEqual({ type: 'credentials', credentials: { username: '', password: '' } })
  })

  it('S30 credentials after 00 was selected are an error', () => {
    expect(failure(NO_AUTH, CREDENTIALS, 'ERR_SOCKS_BAD_VERSION').response).toBeUndefined()
    expect(failure(NO_AUTH, '01', 'ERR_SOCKS_BAD_VERSION', { lenientAuthVersion: true }).response).toBeUndefined()
  })

  it('S30 leniently they are judged, once', () => {
    const options = { lenientAuthMessage: true }
    const judged: Step[] = [...NO_AUTH, CREDENTIALS, { type: 'authStatus', status: 0 }]
    expect(event(NO_AUTH, CREDENTIALS, options)).toEqual({
      type: 'credentials',
      credentials: { username: '75736572', password: '70617373' },
    })
    expect(event(judged, CONNECT, options)).toMatchObject({ type: 'request', command: 1 })
    failure(judged, CREDENTIALS, 'ERR_SOCKS_BAD_VERSION', options)
    const refused = walk([...NO_AUTH, CREDENTIALS, { type: 'authStatus', status: 1 }], options)
    expect(refused.state).toBe('closed')
    // A client that is not broken is served as ever.
    expect(event(NO_AUTH, CONNECT, options)).toMatchObject({ type: 'request', command: 1 })
  })

  it('S30 leniently they come in pieces too, and never with version 05', () => {
    const session = walk(NO_AUTH, { lenientAuthMessage: true, lenientAuthVersion: true })
    const message = bytes(CREDENTIALS)
    for (const [index, byte] of message.entries()) {
      session.receive(Uint8Array.of(byte))
      expect(session.nextEvent()?.type).toBe(index === message.length - 1 ? 'credentials' : undefined)
    }
    // 05 is where a request begins.
    failure(NO_AUTH, '05 01 00 09', 'ERR_SOCKS_BAD_ADDRESS_TYPE', {
      lenientAuthMessage: true,
      lenientAuthVersion: true,
    })
  })

  it('S30 leniently they do not follow another authentication', () => {
    const options = { lenientAuthMessage: true }
    const passed: Step[] = [...USER_PASS, CREDENTIALS, { type: 'authStatus', status: 0 }]
    failure(passed, CREDENTIALS, 'ERR_SOCKS_BAD_VERSION', options)
    failure([...CUSTOM, { type: 'authEnd' }], CREDENTIALS, 'ERR_SOCKS_BAD_VERSION', options)
  })

  it('S32 a request behind the credentials waits until they are judged', () => {
    const session = walk(USER_PASS)
    session.receive(bytes(CREDENTIALS + CONNECT))
    expect(session.nextEvent()?.type).toBe('credentials')
    for (let again = 0; again < 3; again++) expect(session.nextEvent()).toBeUndefined()
    session.receive(bytes('61 62'))
    expect(session.nextEvent()).toBeUndefined()
    session.send({ type: 'authStatus', status: 0 })
    expect(session.nextEvent()?.type).toBe('request')
    expect(hex(session.takeRemaining())).toBe('6162')
  })

  it('a custom method talks in raw bytes and gives back what it did not use', () => {
    const session = walk(CUSTOM)
    session.receive(bytes('aa'))
    session.receive(bytes('bb'))
    expect(plain(session.nextEvent())).toEqual({ type: 'authData', data: 'aabb' })
    expect(session.nextEvent()).toBeUndefined()
    expect(hex(session.send({ type: 'authData', data: bytes('0500') }))).toBe('0500')
    session.receive(bytes(`cc${CONNECT}6869`))
    const answer = session.nextEvent()
    if (answer?.type !== 'authData') throw new Error('no authData')
    expect(answer.data[0]).toBe(0xcc)
    // More of the stream arrives before the method is done with what it holds.
    session.receive(bytes('6a'))
    expect(session.send({ type: 'authEnd', unread: answer.data.subarray(1) }).length).toBe(0)
    expect(session.nextEvent()).toMatchObject({ type: 'request', command: 1 })
    expect(hex(session.takeRemaining())).toBe('68696a')
  })
})
