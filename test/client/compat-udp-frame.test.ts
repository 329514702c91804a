import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { MARK } from './hygiene.js'

describe('A13: datagrams', () => {
  const frame = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

  it.each([
    ['an address type that nobody knows', '0000 00 02 7f000001 0035 00', 'ERR_SOCKS_BAD_ADDRESS_TYPE'],
    ['reserved bytes that are not zero', '0001 00 01 7f000001 0035 00', 'ERR_SOCKS_BAD_RESERVED'],
    ['nothing', '', 'ERR_SOCKS_CONNECTION_CLOSED'],
    ['half a header', '0000 00 01 7f0000', 'ERR_SOCKS_CONNECTION_CLOSED'],
    ['a name longer than the rest', '0000 00 03 ff 6161 0035', 'ERR_SOCKS_CONNECTION_CLOSED'],
    ['an empty name', '0000 00 03 00 0035', 'ERR_SOCKS_INVALID_HOST'],
    ['a name with a NUL', '0000 00 03 03 610061 0035', 'ERR_SOCKS_INVALID_HOST'],
  ])('are refused: %s', (_name, hex, code) => {
    expect(() => SocksClient.parseUDPFrame(frame(hex))).toThrow(expect.objectContaining({ code }))
  })

  it.each(['2001:db8::1', '::1', 'fe80::', '192.0.2.1', 'example.com'])('round trip, canonical: %s', (host) => {
    const details = { frameNumber: 0, remoteHost: { host, port: 53 }, data: Buffer.from(MARK) }
    const bytes = SocksClient.createUDPFrame(details)
    expect(Buffer.isBuffer(bytes)).toBe(true)
    expect(SocksClient.parseUDPFrame(bytes)).toEqual(details)
  })

  it('long spellings become the canonical one', () => {
    const bytes = SocksClient.createUDPFrame({
      remoteHost: { host: '2001:0DB8:0000:0000:0000:0000:0000:0001', port: 53 },
      data: Buffer.alloc(0),
    })
    expect(SocksClient.parseUDPFrame(bytes)).toEqual({
      frameNumber: 0,
      remoteHost: { host: '2001:db8::1', port: 53 },
      data: Buffer.alloc(0),
    })
  })

  it.each([
    ['a zone, which has no place', { host: 'fe80::1%eth0', port: 1 }, {}],
    ['a name that is too long', { host: 'a'.repeat(256), port: 1 }, {}],
    ['a port out of range', { host: '127.0.0.1', port: 65_536 }, {}],
    ['a frame number out of range', { host: '127.0.0.1', port: 1 }, { frameNumber: 256 }],
    ['data that is text', { host: '127.0.0.1', port: 1 }, { data: 'text' }],
    ['more than a datagram holds', { host: '127.0.0.1', port: 1 }, { data: Buffer.alloc(65_498) }],
    ['no host', undefined, {}],
  ])('are not made: %s', (_name, remoteHost, more) => {
    // @ts-expect-error That is what is tested.
    expect(() => SocksClient.createUDPFrame({ remoteHost, data: Buffer.alloc(1), ...more })).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_(SOCKS_INVALID_HOST|OUT_OF_RANGE|INVALID_ARG_VALUE)$/),
      }),
    )
  })

  it('the data is a view into the datagram, as large as can be', () => {
    const data = Buffer.alloc(65_497, 7)
    const bytes = SocksClient.createUDPFrame({ remoteHost: { host: '127.0.0.1', port: 1 }, data })
    const parsed = SocksClient.parseUDPFrame(bytes)
    expect(parsed.data.equals(data)).toBe(true)
    expect(parsed.data.buffer).toBe(bytes.buffer)
  })
})
