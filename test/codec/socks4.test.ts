import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Address,
  decodeSocks4Reply,
  decodeSocks4Request,
  encodeSocks4Reply,
  encodeSocks4Request,
  parseDestination,
  Socks4ReplyCode,
  toDestination,
} from '../../src/codec/index.js'
import { byte, address as everyAddress, port, socks4Reply, socks4Request } from '../support/arbitraries.js'
import { bytes, concat, hex, plain, thrownBy, utf8 } from '../support/bytes.js'
import { describeLaws, expectInvalidArgument, expectOutOfRange, NOT_BYTES, NOT_PORTS, socksError } from './laws.js'

describeLaws('a SOCKS4 request', {
  values: socks4Request,
  encode: encodeSocks4Request,
  decode: decodeSocks4Request,
})

describeLaws('a SOCKS4 reply', { values: socks4Reply, encode: encodeSocks4Reply, decode: decodeSocks4Reply })

describeLaws('a SOCKS4 reply that begins with 04', {
  values: socks4Reply,
  encode: (reply) => concat(Uint8Array.of(0x04), encodeSocks4Reply(reply).subarray(1)),
  decode: decodeSocks4Reply,
})

const LOCAL_80: Address = { type: 'ipv4', host: '127.0.0.1', port: 80 }
const NOBODY = new Uint8Array()

/** A CONNECT to a DSTIP, port 80, of the user "u". */
function connectTo(ip: string, rest = ''): Uint8Array {
  return bytes(`04 01 0050 ${ip} 75 00 ${rest}`)
}

describe('SOCKS4 request', () => {
  it('S127 K127 0.0.0.x with x not zero says that a name follows, and no other address does', () => {
    for (let last = 1; last <= 0xff; last++) {
      const marker = hex(Uint8Array.of(0, 0, 0, last))
      expect(decodeSocks4Request(connectTo(marker)), marker).toBeUndefined()
      expect(decodeSocks4Request(connectTo(marker, '612e62 00'))?.value.address).toEqual({
        type: 'domain',
        host: 'a.b',
        port: 80,
      })
    }
    for (const [ip, host] of [
      ['00000000', '0.0.0.0'],
      ['00000100', '0.0.1.0'],
      ['00000101', '0.0.1.1'],
      ['00010001', '0.1.0.1'],
      ['01000001', '1.0.0.1'],
    ] as const) {
      expect(decodeSocks4Request(connectTo(ip, '612e62 00')), ip).toMatchObject({
        value: { address: { type: 'ipv4', host, port: 80 } },
        bytesRead: 10,
      })
    }
  })

  it('K127 an IPv4 address that is the marker of a name is refused, not sent', () => {
    for (const host of ['0.0.0.1', '0.0.0.42', '0.0.0.255']) {
      expectInvalidArgument(() => encodeSocks4Request({ command: 1, address: { ...LOCAL_80, host }, userId: NOBODY }))
    }
    const zeros = encodeSocks4Request({ command: 2, address: { ...LOCAL_80, host: '0.0.0.0' }, userId: NOBODY })
    expect(hex(zeros)).toBe('040200500000000000')
  })

  it('K127 an IP literal that came as a name is an IP for whoever judges it', () => {
    const decoded = decodeSocks4Request(connectTo('00000001', '3132372e302e302e31 00'))!.value
    expect(decoded.address.type).toBe('domain')
    expect(toDestination(decoded.address)).toEqual(parseDestination('127.0.0.1', 80))
  })

  it('S128 a user id of 255 bytes parses; without an end at the 256th it is refused, whatever comes', () => {
    const head = bytes('04 01 0050 7f000001')
    const user = new Uint8Array(255).fill(0x75)
    expect(decodeSocks4Request(concat(head, user))).toBeUndefined()
    expect(decodeSocks4Request(concat(head, user, bytes('00')))?.value.userId).toEqual(user)
    for (const rest of ['75', '75 00', '75'.repeat(2_000)]) {
      socksError(() => decodeSocks4Request(concat(head, user, bytes(rest))), 'ERR_SOCKS_BAD_USER_ID')
    }
  })

  it('S128 a name of 255 bytes parses; without an end at the 256th it is refused, whatever comes', () => {
    const head = connectTo('00000001')
    const name = new Uint8Array(255).fill(0x78)
    expect(decodeSocks4Request(concat(head, name))).toBeUndefined()
    expect(decodeSocks4Request(concat(head, name, bytes('00')))?.value.address.host).toBe('x'.repeat(255))
    for (const rest of ['78', '78 00', '78'.repeat(2_000)]) {
      socksError(() => decodeSocks4Request(concat(head, name, bytes(rest))), 'ERR_SOCKS_INVALID_HOST')
    }
  })

  it('S128 an empty name parses, and is no destination', () => {
    const decoded = decodeSocks4Request(connectTo('00000001', '00 aa'))
    expect(plain(decoded)).toEqual({
      value: { command: 1, address: { type: 'domain', host: '', port: 80 }, userId: '75' },
      bytesRead: 11,
    })
    socksError(() => toDestination(decoded!.value.address), 'ERR_SOCKS_INVALID_HOST')
  })

  it('S129 what follows the last NUL is left for the tunnel, however the stream is cut', () => {
    for (const [message, payload] of [
      [connectTo('7f000001'), utf8('SSH-2.0')],
      [connectTo('7f000001'), bytes('00 00')],
      [connectTo('00000001', '612e62 00'), utf8('\0after an early end')],
    ] as const) {
      const stream = concat(message, payload)
      for (let end = 0; end <= stream.length; end++) {
        const decoded = decodeSocks4Request(stream.subarray(0, end))
        expect(decoded?.bytesRead).toBe(end < message.length ? undefined : message.length)
      }
    }
  })

  it('S129 an early NUL ends the name', () => {
    const decoded = decodeSocks4Request(connectTo('00000001', '6c6f63616c686f7374 00 2e6576696c2e636f6d 00'))
    expect(decoded?.value.address.host).toBe('localhost')
    expect(decoded?.bytesRead).toBe(20)
  })

  it('a name holds one character per byte, whatever the byte is', () => {
    const decoded = decodeSocks4Request(connectTo('00000001', 'ff0a80 00'))
    expect(decoded?.value.address.host).toBe('\xff\n\x80')
  })

  it('an unknown command is valid bytes', () => {
    for (let command = 0; command <= 0xff; command++) {
      const message = connectTo('7f000001')
      message[1] = command
      expect(decodeSocks4Request(message)?.value.command).toBe(command)
    }
  })

  it('a wrong version is refused on its byte; HTTP and TLS are told apart', () => {
    for (const first of [0x00, 0x01, 0x03, 0x05, 0x06, 0x84, 0xff]) {
      const { message } = socksError(() => decodeSocks4Request(Uint8Array.of(first)), 'ERR_SOCKS_BAD_VERSION')
      expect(message).toContain('version 4')
    }
    socksError(() => decodeSocks4Request(utf8('G')), 'ERR_SOCKS_PEER_IS_HTTP')
    socksError(() => decodeSocks4Request(bytes('16')), 'ERR_SOCKS_PEER_IS_TLS')
  })

  it('S131 C131 an IPv6 address has no place in a request', () => {
    for (const host of ['::1', '::ffff:127.0.0.1']) {
      expectInvalidArgument(() =>
        encodeSocks4Request({ command: 1, address: { type: 'ipv6', host, port: 80 }, userId: NOBODY }),
      )
    }
  })

  it('C131 a name goes out as SOCKS4A, an address as plain SOCKS4', () => {
    const userId = utf8('u')
    expect(hex(encodeSocks4Request({ command: 1, address: LOCAL_80, userId }))).toBe('040100507f0000017500')
    const named = encodeSocks4Request({ command: 1, address: { type: 'domain', host: 'a.b', port: 80 }, userId })
    expect(hex(named)).toBe('04010050000000017500612e6200')
  })

  it('C132 a user id with NUL or of 256 bytes is refused, and so is text', () => {
    const request = { command: 1, address: LOCAL_80 }
    for (const userId of ['\0', 'user\0', 'us\0er']) {
      expectInvalidArgument(() => encodeSocks4Request({ ...request, userId: utf8(userId) }))
    }
    expectOutOfRange(() => encodeSocks4Request({ ...request, userId: new Uint8Array(256).fill(1) }))
    expect(encodeSocks4Request({ ...request, userId: new Uint8Array(255).fill(1) })).toHaveLength(264)
    // @ts-expect-error text
    expectInvalidArgument(() => encodeSocks4Request({ ...request, userId: 'user' }))
  })

  it('refuses commands, ports and hosts that no message can hold', () => {
    for (const command of NOT_BYTES) {
      expectOutOfRange(() => encodeSocks4Request({ command, address: LOCAL_80, userId: NOBODY }))
    }
    for (const wrong of NOT_PORTS) {
      for (const address of [LOCAL_80, { type: 'domain', host: 'a.b' } as const]) {
        expectOutOfRange(() =>
          encodeSocks4Request({ command: 1, address: { ...address, port: wrong }, userId: NOBODY }),
        )
      }
    }
    for (const host of ['', 'x'.repeat(256), 'bücher.example', 'a\0b', 'a b']) {
      expectInvalidArgument(() =>
        encodeSocks4Request({ command: 1, address: { type: 'domain', host, port: 80 }, userId: NOBODY }),
      )
    }
    for (const host of ['', '127.1', 'localhost', '::1']) {
      expectInvalidArgument(() => encodeSocks4Request({ command: 1, address: { ...LOCAL_80, host }, userId: NOBODY }))
    }
  })

  it('no request that is sent is read as another one', () => {
    fc.assert(
      fc.property(byte, everyAddress, fc.uint8Array({ maxLength: 260 }), (command, address, userId) => {
        const sent = orRefused(() => encodeSocks4Request({ command, address, userId }))
        if (sent === undefined) return
        const value = { command, address, userId }
        expect(plain(decodeSocks4Request(sent))).toEqual({ value: plain(value), bytesRead: sent.length })
      }),
    )
  })
})

describe('SOCKS4 reply', () => {
  it('S126 a reply is eight bytes that begin with 00, whatever it says', () => {
    fc.assert(
      fc.property(byte, fc.option(everyAddress, { nil: undefined }), (code, bound) => {
        const reply = encodeSocks4Reply({ code, bound })
        expect(reply).toHaveLength(8)
        expect(Array.from(reply.subarray(0, 2))).toEqual([0x00, code])
      }),
    )
    expect(Socks4ReplyCode).toEqual({ granted: 0x5a, rejected: 0x5b, noIdentd: 0x5c, identityMismatch: 0x5d })
  })

  it('C126 a reply may begin with 00 or 04, and with nothing else', () => {
    for (const version of ['00', '04']) {
      expect(decodeSocks4Reply(bytes(`${version} 5a 0438 c0000201`))).toEqual({
        value: { code: 0x5a, bound: { type: 'ipv4', host: '192.0.2.1', port: 1080 } },
        bytesRead: 8,
      })
    }
    for (const first of [0x01, 0x05, 0x5a, 0xff]) {
      const { message } = socksError(() => decodeSocks4Reply(Uint8Array.of(first)), 'ERR_SOCKS_BAD_VERSION')
      expect(message).toContain('version 4')
    }
    socksError(() => decodeSocks4Reply(utf8('HTTP/1.1 400')), 'ERR_SOCKS_PEER_IS_HTTP')
    socksError(() => decodeSocks4Reply(bytes('15 03')), 'ERR_SOCKS_PEER_IS_TLS')
  })

  it('S131 an address that SOCKS4 has no room for is sent as zeros, its port too', () => {
    for (const bound of [
      { type: 'ipv6', host: '2001:db8::1', port: 1080 },
      { type: 'domain', host: 'example.com', port: 1080 },
      undefined,
    ] as const) {
      expect(hex(encodeSocks4Reply({ code: Socks4ReplyCode.granted, bound }))).toBe('005a000000000000')
    }
    expect(hex(encodeSocks4Reply({ code: Socks4ReplyCode.rejected }))).toBe('005b000000000000')
  })

  it('the address and the port stand the other way round than in SOCKS5', () => {
    fc.assert(
      fc.property(port, (value) => {
        const reply = encodeSocks4Reply({ code: 0x5a, bound: { type: 'ipv4', host: '1.2.3.4', port: value } })
        expect(hex(reply)).toBe(`005a${value.toString(16).padStart(4, '0')}01020304`)
      }),
    )
  })

  it('refuses codes, ports and hosts that no message can hold', () => {
    for (const code of NOT_BYTES) expectOutOfRange(() => encodeSocks4Reply({ code }))
    for (const wrong of NOT_PORTS)
      expectOutOfRange(() => encodeSocks4Reply({ code: 0x5a, bound: { ...LOCAL_80, port: wrong } }))
    expectInvalidArgument(() => encodeSocks4Reply({ code: 0x5a, bound: { ...LOCAL_80, host: '127.1' } }))
  })
})

/** What the call returns, or `undefined` where it refuses its arguments. */
function orRefused<T>(call: () => T): T | undefined {
  try {
    return call()
  } catch {
    expect(['ERR_OUT_OF_RANGE', 'ERR_INVALID_ARG_VALUE']).toContain(Reflect.get(Object(thrownBy(call)), 'code'))
    return undefined
  }
}
