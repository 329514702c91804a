import { Command, credentialsFromText } from '../../src/codec/index.js'
import { bytes, utf8 } from '../support/bytes.js'
import type { Conversation } from './conversation.js'

/** A conversation and the bytes that each side must send in it, up to its payload. */
export interface Scenario {
  readonly name: string
  readonly conversation: Conversation
  readonly clientHandshake: string
  readonly serverHandshake: string
}

const payloads = {
  // Payload that could be taken for another request or reply.
  clientPayload: bytes('05 01 00 01 7f000001 0050 01 00 00'),
  serverPayload: bytes('05 00 00 01 00000000 0000 48 54 54 50'),
}
const silence = { clientPayload: bytes(''), serverPayload: bytes('') }
const example = { type: 'domain', host: 'example.com', port: 443 } as const
const local = { type: 'ipv4', host: '10.0.0.1', port: 4660 } as const
const longName = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`

const EXAMPLE = '03 0b 6578616d706c652e636f6d 01bb'
const LOCAL = '01 0a000001 1234'

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'no authentication, CONNECT to a name',
    conversation: {
      offered: [0x00],
      method: 0x00,
      command: Command.connect,
      destination: example,
      replies: [{ code: 0, bound: local }],
      ...payloads,
    },
    clientHandshake: `05 01 00  05 01 00 ${EXAMPLE}`,
    serverHandshake: `05 00  05 00 00 ${LOCAL}`,
  },
  {
    name: 'username and password, CONNECT to IPv6',
    conversation: {
      offered: [0x00, 0x02],
      method: 0x02,
      credentials: credentialsFromText('user', 'pass'),
      command: Command.connect,
      destination: { type: 'ipv6', host: '2001:db8::1', port: 80 },
      replies: [{ code: 0, bound: { type: 'ipv6', host: '2001:db8::2', port: 4660 } }],
      ...payloads,
    },
    clientHandshake: `05 02 00 02  01 04 75736572 04 70617373  05 01 00 04 20010db8${'00'.repeat(11)}01 0050`,
    serverHandshake: `05 02  01 00  05 00 00 04 20010db8${'00'.repeat(11)}02 1234`,
  },
  {
    name: 'everything at its longest',
    conversation: {
      offered: Array.from({ length: 255 }, (_, index) => index),
      method: 0x02,
      credentials: { username: new Uint8Array(255).fill(0x75), password: new Uint8Array(255).fill(0x70) },
      command: Command.connect,
      destination: { type: 'domain', host: longName, port: 80 },
      replies: [{ code: 0, bound: { type: 'domain', host: 'x'.repeat(255), port: 80 } }],
      ...payloads,
    },
    clientHandshake: [
      `05 ff ${Array.from({ length: 255 }, (_, index) => index.toString(16).padStart(2, '0')).join('')}`,
      `01 ff ${'75'.repeat(255)} ff ${'70'.repeat(255)}`,
      `05 01 00 03 fd ${'61'.repeat(63)}2e${'62'.repeat(63)}2e${'63'.repeat(63)}2e${'64'.repeat(61)} 0050`,
    ].join(' '),
    serverHandshake: `05 02  01 00  05 00 00 03 ff ${'78'.repeat(255)} 0050`,
  },
  {
    name: 'empty password',
    conversation: {
      offered: [0x02],
      method: 0x02,
      credentials: credentialsFromText('user', ''),
      command: Command.connect,
      destination: example,
      replies: [{ code: 0, bound: local }],
      ...payloads,
    },
    clientHandshake: `05 01 02  01 04 75736572 00  05 01 00 ${EXAMPLE}`,
    serverHandshake: `05 02  01 00  05 00 00 ${LOCAL}`,
  },
  {
    name: 'custom method, CONNECT',
    conversation: {
      offered: [0x00, 0x80],
      method: 0x80,
      tokens: { client: utf8('client token'), server: utf8('server token') },
      command: Command.connect,
      destination: example,
      replies: [{ code: 0, bound: local }],
      ...payloads,
    },
    clientHandshake: `05 02 00 80  636c69656e7420746f6b656e  05 01 00 ${EXAMPLE}`,
    serverHandshake: `05 80  73657276657220746f6b656e  05 00 00 ${LOCAL}`,
  },
  {
    name: 'BIND',
    conversation: {
      offered: [0x00],
      method: 0x00,
      command: Command.bind,
      destination: { type: 'ipv4', host: '0.0.0.0', port: 0 },
      replies: [
        { code: 0, bound: local },
        { code: 0, bound: { type: 'ipv4', host: '192.0.2.7', port: 4096 } },
      ],
      ...payloads,
    },
    clientHandshake: '05 01 00  05 02 00 01 00000000 0000',
    serverHandshake: `05 00  05 00 00 ${LOCAL}  05 00 00 01 c0000207 1000`,
  },
  {
    name: 'BIND to which nobody comes',
    conversation: {
      offered: [0x00],
      method: 0x00,
      command: Command.bind,
      destination: { type: 'ipv4', host: '192.0.2.7', port: 80 },
      replies: [
        { code: 0, bound: local },
        { code: 6, bound: { type: 'ipv4', host: '0.0.0.0', port: 0 } },
      ],
      ...silence,
    },
    clientHandshake: '05 01 00  05 02 00 01 c0000207 0050',
    serverHandshake: `05 00  05 00 00 ${LOCAL}  05 06 00 01 00000000 0000`,
  },
  {
    name: 'UDP ASSOCIATE',
    conversation: {
      offered: [0x00],
      method: 0x00,
      command: Command.udpAssociate,
      destination: { type: 'ipv6', host: '::', port: 0 },
      replies: [{ code: 0, bound: local }],
      ...silence,
    },
    clientHandshake: `05 01 00  05 03 00 04 ${'00'.repeat(18)}`,
    serverHandshake: `05 00  05 00 00 ${LOCAL}`,
  },
  {
    name: 'RESOLVE',
    conversation: {
      offered: [0x00],
      method: 0x00,
      command: Command.resolve,
      destination: { ...example, port: 0 },
      replies: [{ code: 0, bound: { type: 'ipv4', host: '192.0.2.7', port: 0 } }],
      ...silence,
    },
    clientHandshake: '05 01 00  05 f0 00 03 0b 6578616d706c652e636f6d 0000',
    serverHandshake: '05 00  05 00 00 01 c0000207 0000',
  },
  {
    name: 'RESOLVE_PTR',
    conversation: {
      offered: [0x00],
      method: 0x00,
      command: Command.resolvePtr,
      destination: { type: 'ipv4', host: '192.0.2.7', port: 0 },
      replies: [{ code: 0, bound: { type: 'domain', host: 'example.com', port: 0 } }],
      ...silence,
    },
    clientHandshake: '05 01 00  05 f1 00 01 c0000207 0000',
    serverHandshake: '05 00  05 00 00 03 0b 6578616d706c652e636f6d 0000',
  },
  {
    name: 'refused by rule',
    conversation: {
      offered: [0x00],
      method: 0x00,
      command: Command.connect,
      destination: example,
      replies: [{ code: 2, bound: { type: 'ipv4', host: '0.0.0.0', port: 0 } }],
      ...silence,
    },
    clientHandshake: `05 01 00  05 01 00 ${EXAMPLE}`,
    serverHandshake: '05 00  05 02 00 01 00000000 0000',
  },
  {
    name: 'wrong password',
    conversation: {
      offered: [0x02],
      method: 0x02,
      credentials: credentialsFromText('user', 'wrong'),
      status: 1,
      command: Command.connect,
      destination: example,
      replies: [],
      ...silence,
    },
    clientHandshake: '05 01 02  01 04 75736572 05 77726f6e67',
    serverHandshake: '05 02  01 01',
  },
  {
    name: 'no method in common',
    conversation: {
      offered: [0x00],
      method: 0xff,
      command: Command.connect,
      destination: example,
      replies: [],
      ...silence,
    },
    clientHandshake: '05 01 00',
    serverHandshake: '05 ff',
  },
]
