import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeGssapiFrame, encodeGssapiFrame, GssapiMessageType, ProtectionLevel } from '../../src/codec/index.js'
import { gssapiFrame } from '../support/arbitraries.js'
import { bytes, hex, plain, utf8 } from '../support/bytes.js'
import { describeLaws, expectInvalidArgument, expectOutOfRange, NOT_BYTES, socksError } from './laws.js'

describeLaws('a GSSAPI frame', { values: gssapiFrame, encode: encodeGssapiFrame, decode: decodeGssapiFrame })

const NOTHING = new Uint8Array()

describe('GSSAPI frame', () => {
  it('K135 the numbers are those of RFC 1961, and 0 for no protection', () => {
    expect(GssapiMessageType).toEqual({ authentication: 0x01, protection: 0x02, encapsulated: 0x03, abort: 0xff })
    expect(ProtectionLevel).toEqual({ none: 0, integrity: 1, confidentiality: 2, selective: 3 })
  })

  it('K135 a frame is 01, its type, two bytes of length and the token', () => {
    for (const type of [0x01, 0x02, 0x03]) {
      const message = encodeGssapiFrame({ type, token: utf8('tok') })
      expect(hex(message)).toBe(`010${type}0003746f6b`)
    }
  })

  it('K135 an abort is two bytes, whatever follows', () => {
    expect(hex(encodeGssapiFrame({ type: GssapiMessageType.abort, token: NOTHING }))).toBe('01ff')
    expect(plain(decodeGssapiFrame(bytes('01 ff 00 01 aa')))).toEqual({
      value: { type: 0xff, token: '' },
      bytesRead: 2,
    })
    expectInvalidArgument(() => encodeGssapiFrame({ type: GssapiMessageType.abort, token: Uint8Array.of(0) }))
  })

  it('K135 a token may be empty, and as long as its length can say', () => {
    expect(plain(decodeGssapiFrame(bytes('01 01 00 00')))).toEqual({ value: { type: 1, token: '' }, bytesRead: 4 })
    const token = new Uint8Array(65_535).fill(0x60)
    const message = encodeGssapiFrame({ type: 3, token })
    expect(hex(message.subarray(0, 4))).toBe('0103ffff')
    expect(decodeGssapiFrame(message.subarray(0, -1))).toBeUndefined()
    expect(decodeGssapiFrame(message)).toEqual({ value: { type: 3, token }, bytesRead: 65_539 })
    expectOutOfRange(() => encodeGssapiFrame({ type: 3, token: new Uint8Array(65_536) }))
  })

  it('K135 a wrong version and an unknown type are refused on their byte', () => {
    for (let byte = 0; byte <= 0xff; byte++) {
      if (byte !== 0x01) socksError(() => decodeGssapiFrame(Uint8Array.of(byte)), 'ERR_SOCKS_BAD_GSSAPI_FRAME')
      const known = [0x01, 0x02, 0x03, 0xff].includes(byte)
      if (!known) socksError(() => decodeGssapiFrame(Uint8Array.of(0x01, byte)), 'ERR_SOCKS_BAD_GSSAPI_FRAME')
    }
  })

  it('K135 frames in one stream are read one after the other, wherever it is cut', () => {
    fc.assert(
      fc.property(fc.array(gssapiFrame, { minLength: 1, maxLength: 4 }), (frames) => {
        const stream = Uint8Array.from(frames.flatMap((frame) => Array.from(encodeGssapiFrame(frame))))
        const read: unknown[] = []
        let offset = 0
        for (let end = 0; end <= stream.length; end++) {
          const decoded = decodeGssapiFrame(stream.subarray(0, end), offset)
          if (decoded === undefined) continue
          read.push(plain(decoded.value))
          offset += decoded.bytesRead
        }
        expect(read).toEqual(plain(frames))
        expect(offset).toBe(stream.length)
      }),
      { numRuns: 40 },
    )
  })

  it('refuses types that no message has and tokens that are not bytes', () => {
    for (const type of [...NOT_BYTES, 0, 4, 254]) expectOutOfRange(() => encodeGssapiFrame({ type, token: NOTHING }))
    // @ts-expect-error text
    expectInvalidArgument(() => encodeGssapiFrame({ type: 1, token: 'token' }))
  })
})
