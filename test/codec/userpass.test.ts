import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Credentials,
  credentialsFromText,
  credentialsToText,
  decodeCredentials,
  decodeUserPassStatus,
  encodeCredentials,
  encodeUserPassStatus,
  ServerSession,
} from '../../src/codec/index.js'
import { anyText, byte, credentials } from '../support/arbitraries.js'
import { bytes, hex, plain, utf8 } from '../support/bytes.js'
import { describeLaws, expectOutOfRange, NOT_BYTES, socksError } from './laws.js'

describeLaws('credentials', { values: credentials, encode: encodeCredentials, decode: decodeCredentials })

describeLaws('credentials read leniently', {
  values: credentials,
  encode: (value) => {
    const message = encodeCredentials(value)
    message[0] = 0x05
    return message
  },
  decode: (input, offset) => decodeCredentials(input, offset, { lenientVersion: true }),
})

describeLaws('a status', {
  values: byte.map((status) => ({ status })),
  encode: encodeUserPassStatus,
  decode: decodeUserPassStatus,
})

describe('wrong arguments', () => {
  it('text in place of bytes is refused, not sent as zeros', () => {
    // @ts-expect-error text
    expect(() => encodeCredentials({ username: 'user', password: 'pass' })).toThrow(TypeError)
    // @ts-expect-error text
    expect(() => new ServerSession().receive('\x05\x01\x00')).toThrow(TypeError)
    // @ts-expect-error an array
    expect(() => new ServerSession().receive([5, 1, 0])).toThrow(TypeError)
  })
})

describe('credentials', () => {
  it('S19 the version is 01, or 05 where that is allowed', () => {
    const message = encodeCredentials(credentialsFromText('user', 'pass'))
    const broken = Uint8Array.of(0x05, ...message.subarray(1))
    socksError(() => decodeCredentials(broken), 'ERR_SOCKS_BAD_AUTH_VERSION')
    expect(decodeCredentials(broken, 0, { lenientVersion: true })).toEqual(decodeCredentials(message))
    socksError(() => decodeCredentials(bytes('05')), 'ERR_SOCKS_BAD_AUTH_VERSION')
    socksError(() => decodeCredentials(bytes('04'), 0, { lenientVersion: true }), 'ERR_SOCKS_BAD_AUTH_VERSION')
  })

  it('K24 an empty username parses', () => {
    expect(plain(decodeCredentials(bytes('01 00 04 70617373')))).toEqual({
      value: { username: '', password: '70617373' },
      bytesRead: 7,
    })
    expect(plain(decodeCredentials(bytes('01 00 00')))).toEqual({
      value: { username: '', password: '' },
      bytesRead: 3,
    })
  })

  it('C25 an empty password encodes', () => {
    expect(hex(encodeCredentials(credentialsFromText('user', '')))).toBe('01047573657200')
  })

  it('K26 255 bytes of each round trip', () => {
    const both = { username: new Uint8Array(255).fill(0x75), password: new Uint8Array(255).fill(0x70) }
    const message = encodeCredentials(both)
    expect(message.length).toBe(513)
    expect(plain(decodeCredentials(message))).toEqual({ value: plain(both), bytesRead: 513 })
  })

  it('C26 256 bytes of either are refused, and bytes are counted, not characters', () => {
    const long = new Uint8Array(256)
    const short = new Uint8Array(255)
    expectOutOfRange(() => encodeCredentials({ username: long, password: short }))
    expectOutOfRange(() => encodeCredentials({ username: short, password: long }))
    expectOutOfRange(() => credentialsFromText('u'.repeat(256), 'p'))
    expectOutOfRange(() => credentialsFromText('u', 'p'.repeat(256)))
    // 128 characters of two bytes are 256 bytes.
    expectOutOfRange(() => credentialsFromText('é'.repeat(128), 'p'))
    expect(credentialsFromText('é'.repeat(127), 'p').username.length).toBe(254)
  })

  it('K27 raw bytes are kept, and are text only where they are UTF-8', () => {
    const raw: Credentials = { username: bytes('ff fe'), password: bytes('70') }
    const decoded = decodeCredentials(encodeCredentials(raw))
    expect(plain(decoded?.value)).toEqual({ username: 'fffe', password: '70' })
    expect(credentialsToText(raw)).toBeUndefined()
    expect(credentialsToText({ username: bytes('75'), password: bytes('c3 28') })).toBeUndefined()
    expect(credentialsToText({ username: utf8('usér'), password: utf8('🔑') })).toEqual({
      username: 'usér',
      password: '🔑',
    })
  })

  it('K27 no two usernames become one text', () => {
    const wellFormed = anyText(40)
    fc.assert(
      fc.property(wellFormed, wellFormed, (username, password) => {
        expect(credentialsToText(credentialsFromText(username, password))).toEqual({ username, password })
      }),
    )
    fc.assert(
      fc.property(credentials, (raw) => {
        const text = credentialsToText(raw)
        if (text !== undefined) expect(plain(credentialsFromText(text.username, text.password))).toEqual(plain(raw))
      }),
    )
    // A decoder that swallows a byte order mark would make these two the same user.
    expect(credentialsToText({ username: bytes('efbbbf 75'), password: bytes('') })?.username).toBe('\ufeffu')
    expect(credentialsToText({ username: bytes('75'), password: bytes('') })?.username).toBe('u')
  })

  it('S28 NUL is a byte like any other', () => {
    const raw = { username: utf8('us\0er'), password: utf8('\0') }
    expect(plain(decodeCredentials(encodeCredentials(raw))?.value)).toEqual(plain(raw))
    expect(credentialsToText(raw)).toEqual({ username: 'us\0er', password: '\0' })
  })

  it('what was read from a pooled Buffer is a plain Uint8Array with memory of its own', () => {
    const input = Buffer.from(encodeCredentials(credentialsFromText('user', 'pass')))
    expect(input.buffer.byteLength).toBeGreaterThan(input.length)
    const { username, password } = decodeCredentials(input)!.value
    for (const part of [username, password]) {
      expect(Object.getPrototypeOf(part)).toBe(Uint8Array.prototype)
      expect(part.buffer).not.toBe(input.buffer)
      expect(part.buffer.byteLength).toBe(4)
    }
  })
})

describe('status', () => {
  it('S20 the answer is 01 and the status, never 05', () => {
    for (let status = 0; status <= 0xff; status++) {
      expect(Array.from(encodeUserPassStatus({ status }))).toEqual([0x01, status])
    }
  })

  it('refuses a status that is no byte', () => {
    for (const status of NOT_BYTES) expectOutOfRange(() => encodeUserPassStatus({ status }))
  })

  it('C21 an answer with version 05 is accepted, any other is not', () => {
    expect(decodeUserPassStatus(bytes('05 00'))).toEqual({ value: { status: 0 }, bytesRead: 2 })
    expect(decodeUserPassStatus(bytes('05 01'))).toEqual({ value: { status: 1 }, bytesRead: 2 })
    for (const version of [0x00, 0x02, 0x04, 0x48, 0xff]) {
      socksError(() => decodeUserPassStatus(Uint8Array.of(version)), 'ERR_SOCKS_BAD_AUTH_VERSION')
    }
  })
})
