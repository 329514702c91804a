import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeUdpDatagram, encodeUdpDatagram, encodeUdpHeader } from '../../src/codec/index.js'
import { address, byte, garbage } from '../support/arbitraries.js'
import { bytes, concat, hex, plain } from '../support/bytes.js'
import { expectInvalidArgument, expectOutOfRange, NOT_BYTES, NOT_PORTS, onlySocksErrors, socksError } from './laws.js'

const datagram = fc.record({ fragment: byte, address, payload: fc.uint8Array({ maxLength: 100 }) })
const LOCAL_53 = '01 7f000001 0035'

describe('UDP datagram', () => {
  it('decoding undoes encoding, at any offset, to the end of the bytes', () => {
    fc.assert(
      fc.property(datagram, fc.uint8Array({ maxLength: 12 }), (value, before) => {
        const message = encodeUdpDatagram(value)
        const decoded = decodeUdpDatagram(concat(before, message), before.length)
        expect(plain(decoded)).toEqual({ value: plain(value), bytesRead: message.length })
        expect(hex(concat(encodeUdpHeader(value), value.payload))).toBe(hex(message))
      }),
    )
  })

  it('K36 every strict prefix of the header needs more; the bare header is an empty datagram', () => {
    fc.assert(
      fc.property(datagram, (value) => {
        const header = encodeUdpHeader(value)
        for (let end = 0; end < header.length; end++) {
          if (decodeUdpDatagram(header.subarray(0, end)) !== undefined) throw new Error(`complete at ${end}`)
        }
        expect(decodeUdpDatagram(header)?.value.payload.length).toBe(0)
      }),
      { numRuns: 40 },
    )
  })

  it('the payload is a view of the datagram, everything else is not', () => {
    const input = encodeUdpDatagram({
      fragment: 0,
      address: { type: 'domain', host: 'example.com', port: 53 },
      payload: bytes('68656c6c6f'),
    })
    const decoded = decodeUdpDatagram(input)!.value
    expect(decoded.payload.buffer).toBe(input.buffer)
    input.fill(0xa5)
    expect(hex(decoded.payload)).toBe('a5a5a5a5a5')
    expect(decoded.address).toEqual({ type: 'domain', host: 'example.com', port: 53 })
  })

  it('an encoded datagram shares no memory with its payload', () => {
    const payload = bytes('6869')
    const message = encodeUdpDatagram({ fragment: 0, address: { type: 'ipv4', host: '127.0.0.1', port: 53 }, payload })
    payload.fill(0)
    expect(hex(message)).toBe('000000017f00000100356869')
  })

  it('the reserved bytes are ignored', () => {
    for (const reserved of ['0000', '0001', 'ff00', 'ffff']) {
      expect(plain(decodeUdpDatagram(bytes(`${reserved} 00 ${LOCAL_53} 6869`))?.value)).toEqual({
        fragment: 0,
        address: { type: 'ipv4', host: '127.0.0.1', port: 53 },
        payload: '6869',
      })
    }
  })

  it('the fragment byte is kept as it came', () => {
    for (let fragment = 0; fragment <= 0xff; fragment++) {
      const message = Uint8Array.of(0, 0, fragment, ...bytes(LOCAL_53))
      expect(decodeUdpDatagram(message)?.value.fragment).toBe(fragment)
    }
  })

  it('the header takes 10, 22, or 7 bytes and the name', () => {
    const length = (value: Parameters<typeof encodeUdpHeader>[0]['address']) =>
      encodeUdpHeader({ fragment: 0, address: value }).length
    expect(length({ type: 'ipv4', host: '192.0.2.1', port: 53 })).toBe(10)
    expect(length({ type: 'ipv6', host: '2001:db8::1', port: 53 })).toBe(22)
    expect(length({ type: 'domain', host: 'a', port: 53 })).toBe(8)
    expect(length({ type: 'domain', host: 'x'.repeat(255), port: 53 })).toBe(262)
  })

  it('an unknown address type is refused', () => {
    for (const atyp of [0x00, 0x02, 0x05, 0xff]) {
      socksError(() => decodeUdpDatagram(Uint8Array.of(0, 0, 0, atyp)), 'ERR_SOCKS_BAD_ADDRESS_TYPE')
    }
  })

  it('garbage is a datagram, is cut short, or is a SocksError', () => {
    fc.assert(
      fc.property(garbage(600), fc.nat(8), (input, offset) => onlySocksErrors(() => decodeUdpDatagram(input, offset))),
      { numRuns: 300 },
    )
  })

  it('refuses fragments, ports and hosts that no message can hold', () => {
    const local = { type: 'ipv4', host: '127.0.0.1', port: 53 } as const
    for (const fragment of NOT_BYTES) expectOutOfRange(() => encodeUdpHeader({ fragment, address: local }))
    for (const port of NOT_PORTS) {
      expectOutOfRange(() => encodeUdpHeader({ fragment: 0, address: { ...local, port } }))
    }
    for (const host of ['', 'x'.repeat(256), 'bücher.example']) {
      expectInvalidArgument(() => encodeUdpHeader({ fragment: 0, address: { type: 'domain', host, port: 53 } }))
    }
  })
})
