// @ts-check
// Every message that the codec encodes and decodes: several of each kind, lest one that never changes is all that is measured.
import * as codec from 'tubesock/codec'

const VARIANTS = 16

/**
 * `hex`: the first of them, written out by hand.
 * @typedef {{
 *   name: string, hex: string, values: readonly any[],
 *   encode: (value: any) => Uint8Array, decode: (bytes: Uint8Array) => { value: unknown, bytesRead: number } | undefined
 * }} Message
 */

/** @param {(index: number) => unknown} make */
function several(make) {
  return Array.from({ length: VARIANTS }, (_, index) => make(index))
}

/** @param {number} index */
const ipv4 = (index) => ({ type: 'ipv4', host: `192.0.2.${1 + index}`, port: 443 + index })
/** @param {number} index */
const ipv6 = (index) => ({ type: 'ipv6', host: `2001:db8::${(1 + index).toString(16)}`, port: 443 + index })
/** @param {number} index */
const name = (index) => ({ type: 'domain', host: `www${10 + index}.example.com`, port: 443 + index })

// Each is followed by its port.
const HEX = {
  ipv4: '01c000020101bb',
  ipv6: '0420010db800000000000000000000000101bb',
  name: `0311${hexOf('www10.example.com')}01bb`,
}
const KINDS = /** @type {const} */ ([
  ['IPv4', ipv4, HEX.ipv4],
  ['IPv6', ipv6, HEX.ipv6],
  ['name', name, HEX.name],
])

/** @param {string} text */
export function bytesOf(text) {
  return new Uint8Array(Buffer.from(text, 'latin1'))
}

/** @param {string} text */
function hexOf(text) {
  return Buffer.from(text, 'latin1').toString('hex')
}

const PAYLOAD = new Uint8Array(512).fill(0xab)
const TOKEN = new Uint8Array(64).fill(0xcd)

/** @type {readonly Message[]} */
export const MESSAGES = [
  {
    name: 'greeting',
    hex: '05020002',
    values: several((index) => ({ methods: index % 2 === 0 ? [0, 2] : [2] })),
    encode: codec.encodeGreeting,
    decode: codec.decodeGreeting,
  },
  {
    name: 'method selection',
    hex: '0500',
    values: several((index) => ({ method: index % 2 === 0 ? 0 : 2 })),
    encode: codec.encodeMethodSelection,
    decode: codec.decodeMethodSelection,
  },
  {
    name: 'credentials',
    hex: `0107${hexOf('alice10')}0a${hexOf('wonderland')}`,
    values: several((index) => ({ username: bytesOf(`alice${10 + index}`), password: bytesOf('wonderland') })),
    encode: codec.encodeCredentials,
    decode: codec.decodeCredentials,
  },
  {
    name: 'credentials status',
    hex: '0100',
    values: several((index) => ({ status: index % 2 })),
    encode: codec.encodeUserPassStatus,
    decode: codec.decodeUserPassStatus,
  },
  ...KINDS.map(([kind, address, hex]) => ({
    name: `CONNECT request, ${kind}`,
    hex: `050100${hex}`,
    values: several((index) => ({ command: codec.Command.connect, address: address(index) })),
    encode: codec.encodeRequest,
    decode: codec.decodeRequest,
  })),
  ...KINDS.slice(0, 2).map(([kind, address, hex]) => ({
    name: `reply, ${kind}`,
    hex: `050000${hex}`,
    values: several((index) => ({ code: codec.ReplyCode.succeeded, bound: address(index) })),
    encode: codec.encodeReply,
    decode: codec.decodeReply,
  })),
  ...KINDS.map(([kind, address, hex]) => ({
    name: `UDP datagram of 512 bytes, ${kind}`,
    hex: `000000${hex}${'ab'.repeat(512)}`,
    values: several((index) => ({ fragment: 0, address: address(index), payload: PAYLOAD })),
    encode: codec.encodeUdpDatagram,
    decode: codec.decodeUdpDatagram,
  })),
  ...KINDS.map(([kind, address, hex]) => ({
    name: `UDP header, ${kind}`,
    hex: `000000${hex}`,
    values: several((index) => ({ fragment: 0, address: address(index), payload: new Uint8Array() })),
    encode: codec.encodeUdpHeader,
    decode: codec.decodeUdpDatagram,
  })),
  {
    name: 'SOCKS4 request',
    hex: `040101bbc0000201${hexOf('alice')}00`,
    values: several((index) => ({ command: codec.Command.connect, address: ipv4(index), userId: bytesOf('alice') })),
    encode: codec.encodeSocks4Request,
    decode: codec.decodeSocks4Request,
  },
  {
    name: 'SOCKS4a request',
    hex: `040101bb00000001${hexOf('alice')}00${hexOf('www10.example.com')}00`,
    values: several((index) => ({ command: codec.Command.connect, address: name(index), userId: bytesOf('alice') })),
    encode: codec.encodeSocks4Request,
    decode: codec.decodeSocks4Request,
  },
  {
    name: 'SOCKS4 reply',
    hex: '005a01bbc0000201',
    values: several((index) => ({ code: codec.Socks4ReplyCode.granted, bound: ipv4(index) })),
    encode: codec.encodeSocks4Reply,
    decode: codec.decodeSocks4Reply,
  },
  {
    name: 'PROXY header, version 1',
    hex: hexOf('PROXY TCP4 192.0.2.1 198.51.100.9 443 1080\r\n'),
    values: several((index) => proxyHeader(1, index)),
    encode: codec.encodeProxyHeader,
    decode: codec.decodeProxyHeader,
  },
  {
    name: 'PROXY header, version 2',
    hex: '0d0a0d0a000d0a515549540a2111000cc0000201c633640901bb0438',
    values: several((index) => proxyHeader(2, index)),
    encode: codec.encodeProxyHeader,
    decode: codec.decodeProxyHeader,
  },
  {
    name: 'GSSAPI frame of 64 bytes',
    hex: `01030040${'cd'.repeat(64)}`,
    values: several(() => ({ type: codec.GssapiMessageType.encapsulated, token: TOKEN })),
    encode: codec.encodeGssapiFrame,
    decode: codec.decodeGssapiFrame,
  },
]

/** @param {1 | 2} version @param {number} index */
function proxyHeader(version, index) {
  const { host, port } = ipv4(index)
  const destination = { host: '198.51.100.9', port: 1080 }
  return { version, command: 'proxy', source: { host, port }, destination, tlvs: [] }
}
