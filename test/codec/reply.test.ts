import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeReply, encodeReply, ReplyCode, replyError, SocksError } from '../../src/codec/index.js'
import { address, byte } from '../support/arbitraries.js'
import { bytes, hex } from '../support/bytes.js'
import { describeLaws, expectInvalidArgument, expectOutOfRange, NOT_BYTES, NOT_PORTS, socksError } from './laws.js'

const reply = fc.record({ code: byte, bound: address })

describeLaws('a reply', { values: reply, encode: encodeReply, decode: decodeReply })

describe('reply', () => {
  it('S63 a reply of any code is one full message', () => {
    for (let code = 0; code <= 0xff; code++) {
      const message = encodeReply({ code })
      expect(message.length).toBe(10)
      expect(decodeReply(message)).toEqual({
        value: { code, bound: { type: 'ipv4', host: '0.0.0.0', port: 0 } },
        bytesRead: 10,
      })
    }
    // A name of one byte makes the only shorter one; it is still long enough for curl, which wants eight bytes first.
    fc.assert(
      fc.property(reply, (value) => {
        expect(encodeReply(value).length).toBeGreaterThanOrEqual(8)
      }),
    )
  })

  it('S78 without a bound address it is 0.0.0.0:0', () => {
    expect(hex(encodeReply({ code: ReplyCode.connectionRefused }))).toBe('05050001000000000000')
    expect(hex(encodeReply({ code: ReplyCode.connectionRefused, bound: undefined }))).toBe('05050001000000000000')
  })

  it('S43 the reserved byte is always sent as 00', () => {
    fc.assert(
      fc.property(reply, (value) => {
        expect(encodeReply(value)[2]).toBe(0)
      }),
    )
  })

  it('C69 the reserved byte is ignored', () => {
    for (let reserved = 1; reserved <= 0xff; reserved++) {
      const decoded = decodeReply(Uint8Array.of(0x05, 0x00, reserved, ...bytes('01 0a000001 0050')))
      expect(decoded?.value.bound).toEqual({ type: 'ipv4', host: '10.0.0.1', port: 80 })
    }
  })

  it('C68 a bound name of any length parses, an unknown address type does not', () => {
    for (let length = 0; length <= 255; length++) {
      const message = bytes(`05 00 00 03 ${hex(Uint8Array.of(length))} ${'78'.repeat(length)} 01bb`)
      expect(decodeReply(message)).toEqual({
        value: { code: 0, bound: { type: 'domain', host: 'x'.repeat(length), port: 443 } },
        bytesRead: 7 + length,
      })
    }
    for (const atyp of [0x00, 0x02, 0x05, 0x17, 0xff]) {
      socksError(() => decodeReply(Uint8Array.of(0x05, 0x00, 0x00, atyp)), 'ERR_SOCKS_BAD_ADDRESS_TYPE')
    }
  })

  it('C65 exactly the bytes of the bound address are taken', () => {
    const banner = bytes('5353482d 322e30')
    for (const [bound, length] of [
      ['01 0a000001 0050', 10],
      [`04 ${'00'.repeat(15)}01 0050`, 22],
      ['03 00 0050', 7],
      ['03 01 61 0050', 8],
    ] as const) {
      expect(decodeReply(bytes(`05 00 00 ${bound} ${hex(banner)}`))?.bytesRead).toBe(length)
    }
  })

  it('C67 every reply code has its error, with the raw code', () => {
    const codes = [
      'ERR_SOCKS_GENERAL_FAILURE',
      'ERR_SOCKS_NOT_ALLOWED',
      'ERR_SOCKS_NETWORK_UNREACHABLE',
      'ERR_SOCKS_HOST_UNREACHABLE',
      'ERR_SOCKS_CONNECTION_REFUSED',
      'ERR_SOCKS_TTL_EXPIRED',
      'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
      'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED',
    ]
    const messages = new Set<string>()
    for (let code = 1; code <= 0xff; code++) {
      const error = replyError(code)
      const tor = code >= 0xf0 && code <= 0xf7 ? 'ERR_SOCKS_TOR_REPLY' : 'ERR_SOCKS_UNASSIGNED_REPLY'
      expect(error).toBeInstanceOf(SocksError)
      expect(error).toMatchObject({ code: codes[code - 1] ?? tor, replyCode: code })
      messages.add(error.message)
    }
    expect(messages.size).toBe(255)
  })

  it('an error of a reply code takes a message and details, and keeps the code', () => {
    const cause = new Error('cause')
    const error = replyError(5, 'refused by example.com', { hop: 1, target: 'example.com:443', cause, replyCode: 1 })
    expect(error).toMatchObject({
      code: 'ERR_SOCKS_CONNECTION_REFUSED',
      message: 'refused by example.com',
      replyCode: 5,
      hop: 1,
      target: 'example.com:443',
    })
    expect(error.cause).toBe(cause)
  })

  it('refuses codes, ports and hosts that no message can hold', () => {
    for (const code of NOT_BYTES) expectOutOfRange(() => encodeReply({ code }))
    for (const port of NOT_PORTS) {
      expectOutOfRange(() => encodeReply({ code: 0, bound: { type: 'ipv4', host: '127.0.0.1', port } }))
    }
    for (const host of ['', 'x'.repeat(256), 'bücher.example']) {
      expectInvalidArgument(() => encodeReply({ code: 0, bound: { type: 'domain', host, port: 80 } }))
    }
  })
})
