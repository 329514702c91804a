// SOCKS4 and SOCKS4A, for people.

import { Command, Socks4ReplyCode } from './constants.js'
import { type Cursor, hex } from './dissect-cursor.js'

/** The SOCKS4 and SOCKS4A memos: VN CD DSTPORT DSTIP USERID NUL [name NUL]. */
export function readSocks4Request(cursor: Cursor): void {
  cursor.byte('VN', () => 'SOCKS4')
  const command = cursor.byte('CD', (value) => SOCKS4_COMMANDS[value] ?? 'unknown command')
  const port = cursor.word('DSTPORT')
  const ip = cursor.ip('DSTIP', 4)
  const user = terminated(cursor, 'USERID')
  // SOCKS4A: 0.0.0.x, x not zero, stands for the name behind the user.
  const isName = ip?.startsWith('0.0.0.') && ip !== '0.0.0.0'
  const host = isName && user !== undefined ? terminated(cursor, 'DSTHOST') : ip
  const name = SOCKS4_COMMANDS[command ?? 0] ?? 'unknown command'
  cursor.finish('SOCKS4 request', `${name} ${host ?? '(cut short)'}:${port ?? '?'}${isName ? ' (SOCKS4A)' : ''}`)
}

/** The SOCKS4 memo: VN CD DSTPORT DSTIP. */
export function readSocks4Reply(cursor: Cursor): void {
  cursor.byte('VN')
  const code = cursor.byte('CD', (value) => SOCKS4_REPLIES[value] ?? 'unknown code')
  if (code !== undefined && SOCKS4_REPLIES[code] === undefined) cursor.fail(1, `0x${hex(code)} is no SOCKS4 reply code`)
  cursor.word('DSTPORT')
  cursor.ip('DSTIP', 4)
  cursor.finish('SOCKS4 reply', SOCKS4_REPLIES[code ?? 0] ?? 'unknown code')
}

function terminated(cursor: Cursor, name: string): string | undefined {
  if (cursor.problem !== undefined) return undefined
  const end = cursor.bytes.indexOf(0, cursor.offset)
  const value = cursor.text(name, end === -1 ? cursor.left : end - cursor.offset)
  if (cursor.byte('NUL') === undefined) return undefined
  return value
}

const SOCKS4_COMMANDS: { readonly [command: number]: string | undefined } = {
  [Command.connect]: 'CONNECT',
  [Command.bind]: 'BIND',
}

const SOCKS4_REPLIES: { readonly [code: number]: string | undefined } = {
  [Socks4ReplyCode.granted]: 'granted',
  [Socks4ReplyCode.rejected]: 'rejected or failed',
  [Socks4ReplyCode.noIdentd]: 'rejected: no identd on the client',
  [Socks4ReplyCode.identityMismatch]: 'rejected: identd names another user',
}
