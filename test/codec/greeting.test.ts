import { describe, expect, it } from 'vitest'
import { decodeGreeting, decodeMethodSelection, encodeGreeting, encodeMethodSelection } from '../../src/codec/index.js'
import { byte, methods } from '../support/arbitraries.js'
import { bytes, hex } from '../support/bytes.js'
import { describeLaws, expectOutOfRange, NOT_BYTES, socksError } from './laws.js'

describeLaws('a greeting', {
  values: methods.map((methods) => ({ methods })),
  encode: encodeGreeting,
  decode: decodeGreeting,
})

describeLaws('a method selection', {
  values: byte.map((method) => ({ method })),
  encode: encodeMethodSelection,
  decode: decodeMethodSelection,
})

describe('greeting', () => {
  it('K1 a greeting without methods parses as an empty list', () => {
    expect(decodeGreeting(bytes('0500'))).toEqual({ value: { methods: [] }, bytesRead: 2 })
  })

  it('S11 a wrong version is refused on the first byte, without waiting for the second', () => {
    for (const first of [0x00, 0x01, 0x04, 0x06, 0x0d, 0x80, 0xff]) {
      socksError(() => decodeGreeting(Uint8Array.of(first)), 'ERR_SOCKS_BAD_VERSION')
    }
  })

  it('S12 the first letter of an HTTP method is told apart', () => {
    for (const line of ['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'TRACE']) {
      socksError(() => decodeGreeting(Uint8Array.of(line.charCodeAt(0))), 'ERR_SOCKS_PEER_IS_HTTP')
    }
  })

  it('S13 a TLS ClientHello is told apart', () => {
    socksError(() => decodeGreeting(bytes('16 03 01')), 'ERR_SOCKS_PEER_IS_TLS')
    socksError(() => decodeGreeting(bytes('16')), 'ERR_SOCKS_PEER_IS_TLS')
  })

  it('refuses to greet with no method, with 256, or with one that is no byte', () => {
    expectOutOfRange(() => encodeGreeting({ methods: [] }))
    expectOutOfRange(() => encodeGreeting({ methods: Array.from({ length: 256 }, () => 0) }))
    for (const method of NOT_BYTES) expectOutOfRange(() => encodeGreeting({ methods: [0, method] }))
    expect(hex(encodeGreeting({ methods: Array.from({ length: 255 }, () => 2) }))).toBe(`05ff${'02'.repeat(255)}`)
  })

  it('refuses to select a method that is no byte', () => {
    for (const method of NOT_BYTES) expectOutOfRange(() => encodeMethodSelection({ method }))
  })

  it('C14 a method reply of another protocol is refused on its first byte', () => {
    socksError(() => decodeMethodSelection(bytes('48')), 'ERR_SOCKS_PEER_IS_HTTP')
    socksError(() => decodeMethodSelection(bytes('48 54')), 'ERR_SOCKS_PEER_IS_HTTP')
    socksError(() => decodeMethodSelection(bytes('15 03')), 'ERR_SOCKS_PEER_IS_TLS')
    socksError(() => decodeMethodSelection(bytes('00 5a')), 'ERR_SOCKS_BAD_VERSION')
  })
})
