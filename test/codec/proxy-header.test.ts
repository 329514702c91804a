import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeProxyHeader,
  encodeProxyHeader,
  type ProxyEndpoint,
  type ProxyHeader,
  SocksError,
} from '../../src/codec/index.js'
import { garbage, proxyHeader } from '../support/arbitraries.js'
import { bytes, concat, hex, plain, utf8 } from '../support/bytes.js'
import {
  describeLaws,
  expectInvalidArgument,
  expectOutOfRange,
  NOT_BYTES,
  NOT_PORTS,
  onlySocksErrors,
  socksError,
} from './laws.js'

describeLaws('a PROXY header', { values: proxyHeader, encode: encodeProxyHeader, decode: decodeProxyHeader })

const SIGNATURE = '0d0a0d0a000d0a515549540a'
const V4: ProxyEndpoint = { host: '192.0.2.1', port: 56_324 }
const V4_TOO: ProxyEndpoint = { host: '198.51.100.2', port: 443 }
const V6: ProxyEndpoint = { host: '2001:db8::1', port: 1080 }
const PROXY_V2: ProxyHeader = { version: 2, command: 'proxy', tlvs: [] }

/** A version 2 header of the given 13th and 14th byte, around a body. */
function binary(commandAndFamily: string, body: string): Uint8Array {
  const length = bytes(body).length.toString(16).padStart(4, '0')
  return bytes(`${SIGNATURE} ${commandAndFamily} ${length} ${body}`)
}

function refused(message: Uint8Array | string): void {
  socksError(
    () => decodeProxyHeader(typeof message === 'string' ? utf8(message) : message),
    'ERR_SOCKS_BAD_PROXY_HEADER',
  )
}

/** How many bytes of a message are needed before it is refused. */
function refusedAt(message: Uint8Array): number {
  for (let end = 0; end <= message.length; end++) {
    try {
      expect(decodeProxyHeader(message.subarray(0, end))).toBeUndefined()
    } catch (error) {
      if (!(error instanceof SocksError)) throw error
      return end
    }
  }
  throw new Error('not refused')
}

describe('PROXY header', () => {
  it('S138 K138 bytes of anything else are refused on the first that differs', () => {
    for (let first = 0; first <= 0xff; first++) {
      if (first !== 0x50 && first !== 0x0d) expect(refusedAt(Uint8Array.of(first))).toBe(1)
    }
    expect(refusedAt(utf8('POST / HTTP/1.1\r\n'))).toBe(2)
    expect(refusedAt(utf8('PROXY  TCP4'))).toBe(7)
    expect(refusedAt(utf8('PROXY TCP5 '))).toBe(10)
    expect(refusedAt(utf8('PROXY UNKNOWN4'))).toBe(14)
    expect(refusedAt(bytes('0d0a 0d0a 0d'))).toBe(5)
    for (let index = 0; index < 12; index++) {
      const message = bytes(`${SIGNATURE} 20 00 0000`)
      message[index] = 0x58
      expect(refusedAt(message)).toBe(index + 1)
    }
  })

  it('K138 mutated headers bring nothing but a SocksError', () => {
    fc.assert(
      fc.property(proxyHeader, fc.nat(), garbage(8), fc.nat(8), (header, at, junk, removed) => {
        const message = encodeProxyHeader(header)
        const index = at % message.length
        const mutated = concat(message.subarray(0, index), junk, message.subarray(index + removed))
        onlySocksErrors(() => {
          const decoded = decodeProxyHeader(mutated)
          if (decoded !== undefined) expect(decoded.bytesRead).toBeLessThanOrEqual(mutated.length)
        })
      }),
      { numRuns: 500 },
    )
  })

  it('K138 a header that is read can be said again, in either version', () => {
    fc.assert(
      fc.property(proxyHeader, (header) => {
        for (const version of [1, 2] as const) {
          const said = decodeProxyHeader(encodeProxyHeader({ ...header, version, tlvs: [] }))!.value
          const { source, destination } = header
          expect(said).toEqual({
            version,
            command: version === 1 ? 'proxy' : header.command,
            tlvs: [],
            ...(source && { source, destination }),
          })
        }
      }),
    )
  })

  it('no argument that cannot be sent is', () => {
    for (const version of [1, 2] as const) {
      const header = { version, command: 'proxy', tlvs: [] } as const
      for (const port of NOT_PORTS) {
        expectOutOfRange(() => encodeProxyHeader({ ...header, source: { ...V4, port }, destination: V4 }))
      }
      for (const host of [
        '',
        'localhost',
        '127.1',
        '010.0.0.1',
        'fe80::1%eth0',
        '[::1]',
        '1.2.3.4 5.6.7.8',
        '::1\r\n',
      ]) {
        expectInvalidArgument(() => encodeProxyHeader({ ...header, source: V6, destination: { host, port: 80 } }))
      }
    }
    // @ts-expect-error a version that does not exist
    expectInvalidArgument(() => encodeProxyHeader({ ...PROXY_V2, version: 3 }))
    // @ts-expect-error a command that does not exist
    expectInvalidArgument(() => encodeProxyHeader({ ...PROXY_V2, command: 'PROXY' }))
  })
})

describe('PROXY header, version 1', () => {
  it('K138 is one line that ends in CRLF', () => {
    const line = encodeProxyHeader({ version: 1, command: 'proxy', source: V4, destination: V4_TOO, tlvs: [] })
    expect(Buffer.from(line).toString()).toBe('PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n')
    for (const ending of ['\n', '\r\r\n', '\r ', '\n\r', '\r\0']) {
      refused(`PROXY TCP4 192.0.2.1 198.51.100.2 56324 443${ending}`)
      refused(`PROXY UNKNOWN${ending}`)
      refused(`PROXY UNKNOWN something${ending}\r\n`)
    }
    expect(decodeProxyHeader(utf8('PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r'))).toBeUndefined()
  })

  it('K138 a line of 107 bytes is read, and 107 without an end are refused', () => {
    const longest = `PROXY UNKNOWN ${'f'.repeat(91)}\r\n`
    expect(longest).toHaveLength(107)
    expect(decodeProxyHeader(utf8(longest))?.bytesRead).toBe(107)
    expect(decodeProxyHeader(utf8(longest).subarray(0, 106))).toBeUndefined()
    expect(refusedAt(utf8(`PROXY UNKNOWN ${'f'.repeat(92)}\r\n`))).toBe(107)
    expect(refusedAt(utf8(`PROXY UNKNOWN ${'f'.repeat(3_000)}`))).toBe(107)
    const groups = 'ffff:'.repeat(7)
    const addresses = `PROXY TCP6 ${groups}fffe ${groups}ffff 65535 65535\r\n`
    expect(decodeProxyHeader(utf8(addresses))?.bytesRead).toBe(104)
  })

  it.each([
    'PROXY TCP4 010.0.0.1 198.51.100.2 56324 443',
    'PROXY TCP4 192.0.2.01 198.51.100.2 56324 443',
    'PROXY TCP4 192.0.2.1 198.51.100.2 056324 443',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 0443',
    'PROXY TCP4 192.0.2.1 198.51.100.2 00 443',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 99999',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443000',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 -1',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 1e3',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 ',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 ',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1',
    'PROXY TCP4 192.0.2.1  198.51.100.2 56324 443',
    'PROXY TCP4  192.0.2.1 198.51.100.2 56324 443',
    'PROXY TCP4 192.0.2.1\t198.51.100.2 56324 443',
    'PROXY TCP4 192.0.2.1 198.51.100 56324 443',
    'PROXY TCP4 192.0.2.256 198.51.100.2 56324 443',
    'PROXY TCP4 0x7f000001 198.51.100.2 56324 443',
    'PROXY TCP4 2130706433 198.51.100.2 56324 443',
    'PROXY TCP4 localhost 198.51.100.2 56324 443',
    'PROXY TCP4 ::1 ::1 56324 443',
    'PROXY TCP4 192.0.2.1 ::1 56324 443',
    'PROXY TCP4 ::ffff:192.0.2.1 ::ffff:192.0.2.2 56324 443',
    'PROXY TCP6 192.0.2.1 198.51.100.2 56324 443',
    'PROXY TCP6 ::1 192.0.2.1 56324 443',
    'PROXY TCP6 ::1::2 ::1 56324 443',
    'PROXY TCP6 fe80::1%eth0 ::1 56324 443',
    'PROXY TCP6 [::1] ::1 56324 443',
    'PROXY TCP6 1:2:3:4:5:6:7 ::1 56324 443',
    'PROXY TCP4',
    'PROXY TCP4 ',
    'PROXY TCP5 192.0.2.1 198.51.100.2 56324 443',
    'PROXY TCP 192.0.2.1 198.51.100.2 56324 443',
    'PROXY UDP4 192.0.2.1 198.51.100.2 56324 443',
    'PROXY tcp4 192.0.2.1 198.51.100.2 56324 443',
    'proxy TCP4 192.0.2.1 198.51.100.2 56324 443',
    'PROXY UNKNOW',
    'PROXY UNKNOWN\t',
    'PROXY unknown',
    'PROXY ',
    'PROXY',
    ' PROXY TCP4 192.0.2.1 198.51.100.2 56324 443',
  ])('K138 %j is refused', (line) => refused(`${line}\r\n`))

  it('K138 what no address holds is refused before the line ends', () => {
    for (const line of ['PROXY TCP4 192.0.2.1\0', 'PROXY TCP4 192.0.2.1\xff', 'PROXY TCP6 g', 'PROXY TCP6 fe80::1%']) {
      const message = Uint8Array.from(line, (character) => character.charCodeAt(0))
      expect(refusedAt(message)).toBe(line.length)
    }
  })

  it('K138 of UNKNOWN the rest is ignored, whatever it is', () => {
    for (const rest of ['', ' ', ' ffff::1 ffff::2 65535 65535', ' 1.2.3.4', ' \xff\0 \t', ' UNKNOWN']) {
      const message = Uint8Array.from(`PROXY UNKNOWN${rest}\r\nSSH`, (character) => character.charCodeAt(0))
      expect(decodeProxyHeader(message)).toEqual({
        value: { version: 1, command: 'proxy', tlvs: [] },
        bytesRead: message.length - 3,
      })
    }
  })

  it('K138 hosts are canonical, and IPv4 where they are IPv4-mapped', () => {
    expect(decodeProxyHeader(utf8('PROXY TCP6 2001:0DB8:0:0::1 ::FFFF:192.0.2.1 1 2\r\n'))?.value).toEqual({
      version: 1,
      command: 'proxy',
      source: { host: '2001:db8::1', port: 1 },
      destination: { host: '192.0.2.1', port: 2 },
      tlvs: [],
    })
  })

  it('K138 without addresses, or where the proxy speaks for itself, UNKNOWN is said', () => {
    const unknown = hex(utf8('PROXY UNKNOWN\r\n'))
    for (const header of [
      {},
      { source: V4 },
      { destination: V4 },
      { command: 'local', source: V4, destination: V4_TOO },
      { command: 'local' },
    ] as const) {
      expect(hex(encodeProxyHeader({ version: 1, command: 'proxy', tlvs: [], ...header }))).toBe(unknown)
    }
  })

  it('K138 of both families, IPv4 is told as IPv4-mapped IPv6', () => {
    const header = { version: 1, command: 'proxy', source: V4, destination: V6, tlvs: [] } as const
    const line = encodeProxyHeader(header)
    expect(Buffer.from(line).toString()).toBe('PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 56324 1080\r\n')
    expect(decodeProxyHeader(line)?.value).toEqual(header)
    // Both are IPv4, in two spellings.
    const mapped = { ...header, source: { host: '::ffff:192.0.2.1', port: 1 }, destination: V4_TOO }
    expect(Buffer.from(encodeProxyHeader(mapped)).toString()).toBe('PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\n')
  })

  it('K138 has no TLVs', () => {
    const tlvs = [{ type: 0x02, value: utf8('example.com') }]
    expectInvalidArgument(() => encodeProxyHeader({ version: 1, command: 'proxy', tlvs }))
  })
})

describe('PROXY header, version 2', () => {
  it('K138 is the signature, command, family, length, addresses and TLVs', () => {
    const tlvs = [{ type: 0x02, value: utf8('a.b') }]
    const message = encodeProxyHeader({ ...PROXY_V2, source: V4, destination: V4_TOO, tlvs })
    expect(hex(message)).toBe(`${SIGNATURE}21110012c0000201c6336402dc0401bb020003612e62`)
    expect(hex(encodeProxyHeader({ ...PROXY_V2, source: V4, destination: V6 }))).toBe(
      `${SIGNATURE}2121002400000000000000000000ffffc000020120010db8000000000000000000000001dc040438`,
    )
    expect(hex(encodeProxyHeader(PROXY_V2))).toBe(`${SIGNATURE}21000000`)
  })

  it('S138 K138 any other version, command or family is refused on its byte', () => {
    for (let byte = 0; byte <= 0xff; byte++) {
      const command = hex(Uint8Array.of(byte))
      if (byte !== 0x20 && byte !== 0x21) expect(refusedAt(bytes(`${SIGNATURE} ${command} 11 000c`))).toBe(13)
      const known = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32].includes(byte)
      if (!known) expect(refusedAt(bytes(`${SIGNATURE} 21 ${command} 00d8`))).toBe(14)
    }
  })

  it('S138 K138 LOCAL is accepted with whatever it holds, all of which is skipped', () => {
    const local = { version: 2, command: 'local', tlvs: [] }
    for (const [family, body] of [
      ['00', ''],
      ['00', 'ff'],
      ['11', 'c0000201c6336402dc0401bb'],
      ['11', 'c0'],
      ['21', '03 ffff'],
      // "Discard the protocol block including the family which is ignored."
      ['ff', 'ab'.repeat(4096)],
    ] as const) {
      const message = binary(`20 ${family}`, body)
      expect(decodeProxyHeader(concat(message, bytes('05 01 00')))).toEqual({ value: local, bytesRead: message.length })
    }
    expect(hex(encodeProxyHeader({ ...PROXY_V2, command: 'local', source: V4, destination: V4 }))).toBe(
      `${SIGNATURE}20000000`,
    )
  })

  it('K138 UDP has the addresses of TCP; AF_UNSPEC and AF_UNIX have none', () => {
    const four = 'c0000201 c6336402 dc04 01bb'
    expect(decodeProxyHeader(binary('21 12', four))?.value).toEqual({ ...PROXY_V2, source: V4, destination: V4_TOO })
    const six = `20010db8${'00'.repeat(11)}01 ${'00'.repeat(15)}01 0438 0001`
    for (const family of ['21', '22']) {
      expect(decodeProxyHeader(binary(`21 ${family}`, six))?.value).toEqual({
        ...PROXY_V2,
        source: V6,
        destination: { host: '::1', port: 1 },
      })
    }
    const path = '2f746d70'.padEnd(216, '0')
    for (const [family, body] of [
      ['00', ''],
      ['31', path + path],
      ['32', path + path],
    ] as const) {
      expect(plain(decodeProxyHeader(binary(`21 ${family}`, `${body} 04 0001 aa`))?.value)).toEqual({
        ...PROXY_V2,
        tlvs: [{ type: 4, value: 'aa' }],
      })
    }
  })

  it('K138 IPv4-mapped addresses are IPv4', () => {
    const mapped = `${'00'.repeat(10)}ffff c0000201`
    expect(decodeProxyHeader(binary('21 21', `${mapped} ${mapped} dc04 01bb`))?.value).toMatchObject({
      source: V4,
      destination: { host: '192.0.2.1', port: 443 },
    })
  })

  it('K138 a length without room for the addresses is refused before they come', () => {
    for (const [family, minimum] of [
      ['11', 12],
      ['12', 12],
      ['21', 36],
      ['22', 36],
      ['31', 216],
      ['32', 216],
    ] as const) {
      const length = (value: number) => bytes(`${SIGNATURE} 21 ${family} ${value.toString(16).padStart(4, '0')}`)
      expect(refusedAt(length(minimum - 1))).toBe(16)
      expect(decodeProxyHeader(length(minimum))).toBeUndefined()
    }
  })

  it('K138 a length over 4096 is refused before its bytes come, of LOCAL too', () => {
    for (const start of ['21 11', '21 00', '20 00']) {
      for (const length of ['1001', 'ffff']) expect(refusedAt(bytes(`${SIGNATURE} ${start} ${length}`))).toBe(16)
      expect(decodeProxyHeader(bytes(`${SIGNATURE} ${start} 1000`))).toBeUndefined()
    }
  })

  it('K138 TLVs are given as they are, and copied', () => {
    const message = binary('21 00', '04 0000 ea 0002 0bad 03 0004 00000000 02 0001 ff 02 0001 fe')
    const decoded = decodeProxyHeader(Buffer.from(message))!
    message.fill(0)
    expect(plain(decoded.value.tlvs)).toEqual([
      { type: 0x04, value: '' },
      { type: 0xea, value: '0bad' },
      { type: 0x03, value: '00000000' },
      { type: 0x02, value: 'ff' },
      { type: 0x02, value: 'fe' },
    ])
    for (const { value } of decoded.value.tlvs) expect(Object.getPrototypeOf(value)).toBe(Uint8Array.prototype)
  })

  it('K138 a TLV that reaches beyond the header is refused, though the bytes are there', () => {
    for (const tlv of ['02', '02 00', '02 0001', '02 0003 6162', '02 0001 61 02', '02 ffff 61']) {
      for (const [family, addresses] of [
        ['00', ''],
        ['11', 'c0000201 c6336402 dc04 01bb'],
      ] as const) {
        refused(concat(binary(`21 ${family}`, `${addresses} ${tlv}`), new Uint8Array(100)))
      }
    }
  })

  it('K138 TLVs beyond what can be read are refused, not wrapped', () => {
    const tlv = (length: number) => [{ type: 0x05, value: new Uint8Array(length) }]
    const longest = encodeProxyHeader({ ...PROXY_V2, tlvs: tlv(4093) })
    expect(decodeProxyHeader(longest)?.bytesRead).toBe(16 + 4096)
    for (const length of [4094, 65_535, 65_536, 70_000]) {
      expectOutOfRange(() => encodeProxyHeader({ ...PROXY_V2, tlvs: tlv(length) }))
    }
    expectOutOfRange(() => encodeProxyHeader({ ...PROXY_V2, source: V4, destination: V4, tlvs: tlv(4093) }))
    for (const type of NOT_BYTES) {
      expectOutOfRange(() => encodeProxyHeader({ ...PROXY_V2, tlvs: [{ type, value: new Uint8Array() }] }))
    }
    // @ts-expect-error text
    expectInvalidArgument(() => encodeProxyHeader({ ...PROXY_V2, tlvs: [{ type: 2, value: 'example.com' }] }))
  })
})
