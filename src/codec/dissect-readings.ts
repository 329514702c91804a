// All ways to read some bytes as SOCKS, each with a measure of how far-fetched it is.

import { Command, Method, ReplyCode, VERSION } from './constants.js'
import type { DissectedMessage, DissectionProblem } from './dissect.js'
import { Cost, Cursor, hasAddress, hex } from './dissect-cursor.js'
import { proxyHeaderLength, readProxyHeader, startsProxyHeader } from './dissect-proxy.js'
import { readSocks4Reply, readSocks4Request } from './dissect-socks4.js'
import { replyError } from './reply.js'

/** One reading. */
export interface Candidate {
  readonly messages: readonly DissectedMessage[]
  readonly problem: DissectionProblem | undefined
  readonly cost: number
  /** Who sends such messages; `undefined`: both. */
  readonly side: 'client' | 'server' | undefined
}

const MANY_METHODS = 32

type Reader = (cursor: Cursor) => void
type Reading = readonly [Candidate['side'], Reader]

/** The readings that a first byte allows, the likelier first where costs are equal. */
export function readingsOf(bytes: Uint8Array, showSecrets: boolean): Candidate[] {
  const readings = startsProxyHeader(bytes) ? proxiedReadings(bytes) : plainReadings(bytes)
  return readings.map(([side, read]) => {
    const cursor = new Cursor(bytes, showSecrets)
    read(cursor)
    if (cursor.problem === undefined && cursor.left > 0) readTail(cursor)
    const { messages, problem, cost } = cursor
    return { messages, problem, cost, side }
  })
}

/** A PROXY header stands in front of what a client says, which is read as if the header were not there. */
function proxiedReadings(bytes: Uint8Array): readonly Reading[] {
  const rest = bytes.subarray(proxyHeaderLength(bytes))
  if (rest.length === 0) return [['client', readProxyHeader]]
  const behind = plainReadings(rest).filter(([side]) => side !== 'server')
  const readers = behind.length > 0 ? behind.map(([, read]) => read) : [readStranger]
  return readers.map((read) => {
    const both: Reader = (cursor) => {
      readProxyHeader(cursor)
      read(cursor)
    }
    return ['client', both]
  })
}

function readStranger(cursor: Cursor): void {
  unexpected(cursor, 'a greeting (05) or a SOCKS4 request (04)')
}

function plainReadings(bytes: Uint8Array): readonly Reading[] {
  return READINGS[bytes[0] ?? 0] ?? otherReadings(bytes)
}

const READINGS: { readonly [firstByte: number]: readonly Reading[] | undefined } = {
  5: [
    ['client', readRequest],
    ['server', readReply],
    ['client', readGreeting],
    ['server', readSelection],
  ],
  1: [
    ['server', readStatus],
    ['client', readCredentials],
  ],
  4: [['client', readSocks4Request]],
  0: [
    ['server', readSocks4Reply],
    [undefined, readUdp],
  ],
}

function otherReadings(bytes: Uint8Array): readonly Reading[] {
  const start = String.fromCharCode(...bytes.subarray(0, 8))
  if (/^(?:CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE) |^HTTP\//.test(start)) return [[undefined, readHttp]]
  // TLS records: alert or handshake of any version. RFC 8446 section 5.1.
  if ((bytes[0] === 0x15 || bytes[0] === 0x16) && (bytes[1] ?? 0x03) === 0x03) return [[undefined, readTls]]
  return []
}

/** What is left when a reading that has nothing more to expect is over. */
function readTail(cursor: Cursor): void {
  const { left, bytes, offset } = cursor
  // A client speaks before the reply only if it is in a hurry.
  if (cursor.messages.at(-1)?.kind === 'request') cursor.cost += Cost.odd
  const again = cursor.messages.at(-1)?.kind === 'reply' && cursor.next === VERSION && hasAddress(bytes, offset + 3)
  cursor.raw('DATA', left, again ? 'perhaps the second reply of BIND, or another proxy behind this one' : '')
  cursor.finish('tunnel data', `${left} ${left === 1 ? 'byte' : 'bytes'}`)
}

/** RFC 1928 section 3, and whatever the client sent behind it. */
function readGreeting(cursor: Cursor): void {
  version(cursor)
  const count = cursor.byte('NMETHODS')
  if (count === 0) cursor.cost += Cost.odd
  // Nobody can do that many.
  if (count !== undefined && count > MANY_METHODS) cursor.cost += Cost.unassigned
  const methods = cursor.bytes.subarray(cursor.offset, cursor.offset + (count ?? 0))
  if (count !== undefined && methods.length === count) {
    for (const method of methods) cursor.cost += oddity(method)
    for (let index = 0; index < count; index++) cursor.byte('METHOD', methodName)
  } else if (count !== undefined) {
    cursor.text('METHODS', count)
  }
  cursor.finish('greeting', `offers ${Array.from(methods, methodName).join(', ') || 'nothing'}`)
  if (cursor.left === 0 || cursor.problem !== undefined) return
  if (cursor.next === VERSION) readRequest(cursor)
  else if (cursor.next === 0x01) readCredentials(cursor)
  else unexpected(cursor, 'credentials (01) or a request (05)')
}

/** RFC 1928 section 3, the answer. */
function readSelection(cursor: Cursor): void {
  version(cursor)
  const method = cursor.byte('METHOD', methodName)
  if (method !== undefined) cursor.cost += oddity(method)
  cursor.finish('method selection', method === undefined ? 'cut short' : methodName(method))
  if (cursor.left === 0 || cursor.problem !== undefined) return
  if (method === Method.noAcceptable) unexpected(cursor, 'nothing after a refusal')
  else if (cursor.next === VERSION) readReply(cursor)
  else if (cursor.next === 0x01 && method === Method.userPass) readStatus(cursor)
  else unexpected(cursor, 'a reply (05), or a status (01) after method 2')
}

/** RFC 1929 section 2, and the request behind it. */
function readCredentials(cursor: Cursor): void {
  cursor.byte('VER', () => 'RFC 1929')
  const usernameLength = cursor.byte('ULEN')
  const username = usernameLength === undefined ? undefined : cursor.text('UNAME', usernameLength)
  const passwordLength = username === undefined ? undefined : cursor.byte('PLEN')
  if (passwordLength !== undefined) cursor.text('PASSWD', passwordLength, true)
  cursor.finish('credentials', username === undefined ? 'cut short' : `user ${username || '(empty)'}`)
  if (cursor.left === 0 || cursor.problem !== undefined) return
  if (cursor.next === VERSION) readRequest(cursor)
  else unexpected(cursor, 'a request (05)')
}

function readStatus(cursor: Cursor): void {
  cursor.byte('VER', () => 'RFC 1929')
  const status = cursor.byte('STATUS', (value) => (value === 0 ? 'success' : 'failure'))
  cursor.finish('credentials status', status === undefined ? 'cut short' : status === 0 ? 'success' : 'failure')
  if (cursor.left === 0 || cursor.problem !== undefined) return
  if (status !== 0) unexpected(cursor, 'nothing after a failure')
  else if (cursor.next === VERSION) readReply(cursor)
  else unexpected(cursor, 'a reply (05)')
}

/** RFC 1928 section 4. */
function readRequest(cursor: Cursor): void {
  version(cursor)
  const command = cursor.byte('CMD', commandName)
  if (command !== undefined && COMMANDS[command] === undefined) cursor.cost += Cost.unassigned
  reserved(cursor)
  const target = cursor.address('DST')
  if (target !== undefined) cursor.cost += requestOddity(command, target.host, target.port)
  cursor.finish('request', `${commandName(command ?? 0)} ${target?.text ?? '(cut short)'}`)
}

/** RFC 1928 section 6. */
function readReply(cursor: Cursor): void {
  version(cursor)
  const code = cursor.byte('REP', replyName)
  reserved(cursor)
  const bound = cursor.address('BND')
  if (code !== undefined) cursor.cost += replyOddity(code, bound?.host)
  const failed = code !== undefined && code !== ReplyCode.succeeded
  cursor.finish('reply', `${replyName(code ?? 0)}, BND ${bound?.text ?? '(cut short)'}`)
  if (failed && cursor.left > 0 && cursor.problem === undefined) unexpected(cursor, 'nothing after a failure')
}

/** RFC 1928 section 7. */
function readUdp(cursor: Cursor): void {
  const rsv = cursor.word('RSV')
  if (rsv !== 0) cursor.cost += Cost.odd
  const fragment = cursor.byte('FRAG', fragmentName)
  if (fragment !== 0) cursor.cost += Cost.unusual
  const peer = cursor.address('DST')
  const length = peer === undefined ? 0 : cursor.left
  cursor.raw('DATA', length)
  const part = fragment ? `, fragment ${fragment & 0x7f}` : ''
  cursor.finish('UDP datagram', `to or from ${peer?.text ?? '(cut short)'}, ${length} bytes of data${part}`)
}

function readHttp(cursor: Cursor): void {
  const { offset } = cursor
  cursor.raw('TEXT', cursor.left)
  cursor.finish('HTTP', 'this is HTTP, not SOCKS')
  cursor.fail(offset, 'this is HTTP, not SOCKS')
}

function readTls(cursor: Cursor): void {
  const { offset } = cursor
  cursor.raw('RECORD', cursor.left)
  cursor.finish('TLS', 'this is TLS, not SOCKS')
  cursor.fail(offset, 'this is TLS, not SOCKS')
}

function version(cursor: Cursor): void {
  cursor.byte('VER', () => 'SOCKS5')
}

function reserved(cursor: Cursor): void {
  const value = cursor.byte('RSV', (byte) => (byte === 0 ? '' : 'should be 0'))
  if (value !== undefined && value !== 0) cursor.cost += Cost.odd
}

function unexpected(cursor: Cursor, expected: string): void {
  const { offset } = cursor
  cursor.fail(offset, `unexpected 0x${hex(cursor.next ?? 0)} at byte ${offset}: expected ${expected}`)
}

/** How unlikely a request is. All zeros mean "any" to BIND and UDP ASSOCIATE; nobody can connect to that. */
function requestOddity(command: number | undefined, host: string, port: number): number {
  const isAny = (host === '0.0.0.0' || host === '::') && port === 0
  if (command === Command.udpAssociate) return 0
  if (command === Command.bind) return isAny ? Cost.odd : 0
  return host === '' || isAny ? Cost.odd + Cost.unusual : 0
}

/** How unlikely a reply is: failures carry zeros, and hardly anybody answers with a name. */
function replyOddity(code: number, host: string | undefined): number {
  const assigned = code <= ReplyCode.addressTypeNotSupported || (code >= 0xf0 && code <= 0xf7)
  const zeros = host === undefined || host === '0.0.0.0' || host === '::'
  return (assigned ? 0 : Cost.unassigned) + (code !== ReplyCode.succeeded && !zeros ? Cost.odd : 0) + Cost.unusual
}

function oddity(method: number): number {
  if (method === Method.noAuth || method === Method.userPass || method === Method.noAcceptable) return 0
  return method === Method.gssapi || method >= 0x80 ? Cost.unusual : Cost.odd
}

const COMMANDS: { readonly [command: number]: string | undefined } = {
  [Command.connect]: 'CONNECT',
  [Command.bind]: 'BIND',
  [Command.udpAssociate]: 'UDP ASSOCIATE',
  [Command.resolve]: 'RESOLVE (Tor)',
  [Command.resolvePtr]: 'RESOLVE_PTR (Tor)',
}

function commandName(command: number): string {
  return COMMANDS[command] ?? `unknown command ${command}`
}

function replyName(code: number): string {
  return code === ReplyCode.succeeded ? 'succeeded' : replyError(code).message
}

function methodName(method: number): string {
  switch (method) {
    case Method.noAuth:
      return 'no authentication'
    case Method.gssapi:
      return 'GSSAPI'
    case Method.userPass:
      return 'username/password'
    case Method.noAcceptable:
      return 'no acceptable method'
    default:
      return method >= 0x80 ? `private method ${method}` : `unknown method ${method}`
  }
}

function fragmentName(fragment: number): string {
  if (fragment === 0) return 'not fragmented'
  return `fragment ${fragment & 0x7f}${fragment >= 0x80 ? ', the last' : ''}`
}
