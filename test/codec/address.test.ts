import { describe, expect, it } from 'vitest'
import { type Address, decodeAddress, encodeAddress, formatIPv6, UNSPECIFIED_ADDRESS } from '../../src/codec/index.js'
import { address } from '../support/arbitraries.js'
import { bytes, hex } from '../support/bytes.js'
import { describeLaws, expectInvalidArgument, expectOutOfRange, NOT_PORTS, socksError } from './laws.js'

describeLaws('an address', { values: address, encode: encodeAddress, decode: decodeAddress })

describe('address', () => {
  it('S46 an address type that no RFC assigns is refused on its byte', () => {
    for (let atyp = 0; atyp <= 0xff; atyp++) {
      const alone = Uint8Array.of(atyp)
      if ([1, 3, 4].includes(atyp)) expect(decodeAddress(alone)).toBeUndefined()
      else socksError(() => decodeAddress(alone), 'ERR_SOCKS_BAD_ADDRESS_TYPE')
    }
  })

  it('a domain keeps every byte as one character', () => {
    const all = Uint8Array.from({ length: 255 }, (_, index) => index)
    const decoded = decodeAddress(bytes(`03ff${hex(all)}0050`))
    expect(decoded?.value.host.length).toBe(255)
    expect(Array.from(decoded?.value.host ?? '', (character) => character.charCodeAt(0))).toEqual(Array.from(all))
  })

  it('C141 a host of 256 bytes is refused, never wrapped into its length byte', () => {
    expectInvalidArgument(() => encodeAddress({ type: 'domain', host: 'x'.repeat(256), port: 80 }))
    expectInvalidArgument(() => encodeAddress({ type: 'domain', host: 'x'.repeat(256 + 11), port: 80 }))
    expect(encodeAddress({ type: 'domain', host: 'x'.repeat(255), port: 80 }).length).toBe(259)
  })

  it('refuses names that are empty or not printable ASCII', () => {
    for (const host of ['', ' ', 'a b', 'a\0b', 'a\n', '\x7f', 'é', '\u212a', '１２７.0.0.1', '🔑', '\ud800']) {
      expectInvalidArgument(() => encodeAddress({ type: 'domain', host, port: 80 }))
    }
  })

  it('refuses hosts that are not of their type', () => {
    for (const host of ['', '127.1', '0x7f000001', '2130706433', '0177.0.0.1', '::1', 'localhost', '127.0.0.1.']) {
      expectInvalidArgument(() => encodeAddress({ type: 'ipv4', host, port: 80 }))
    }
    for (const host of ['', '127.0.0.1', '[::1]', 'fe80::1%eth0', 'localhost', ':::', '::1.']) {
      expectInvalidArgument(() => encodeAddress({ type: 'ipv6', host, port: 80 }))
    }
  })

  it('refuses ports outside 0 to 65535, for every type', () => {
    const hosts = { ipv4: '127.0.0.1', ipv6: '::1', domain: 'localhost' }
    for (const port of NOT_PORTS) {
      expectOutOfRange(() => encodeAddress({ type: 'ipv4', host: hosts.ipv4, port }))
      expectOutOfRange(() => encodeAddress({ type: 'ipv6', host: hosts.ipv6, port }))
      expectOutOfRange(() => encodeAddress({ type: 'domain', host: hosts.domain, port }))
    }
  })

  it('refuses a type that does not exist', () => {
    const untyped: Address = JSON.parse('{ "type": "unix", "host": "/tmp/socket", "port": 0 }')
    expect(() => encodeAddress(untyped)).toThrow(TypeError)
  })

  it('encodes any legal spelling of an IPv6 literal', () => {
    const loopback = `04${'00'.repeat(15)}010050`
    for (const host of ['::1', '0:0:0:0:0:0:0:1', '0000::0001', '::0.0.0.1']) {
      expect(hex(encodeAddress({ type: 'ipv6', host, port: 80 }))).toBe(loopback)
    }
    expect(formatIPv6(bytes(loopback).subarray(1, 17))).toBe('::1')
  })

  it('the unspecified address cannot be changed', () => {
    expect(Object.isFrozen(UNSPECIFIED_ADDRESS)).toBe(true)
    expect(hex(encodeAddress(UNSPECIFIED_ADDRESS))).toBe('01000000000000')
  })
})
